package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullCallback;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.api.parallel.Isolated;

@Tag("main")
@Isolated
class LongPollingTest {
    @RegisterExtension
    final Clients clients = new Clients();

    private String topic;
    private MessageQueue queue;

    @BeforeEach
    void createTopic() throws Exception {
        topic = clients.topic(1);
        queue = clients.reader().queues(topic).get(0);
    }

    @Test
    void heldPullIsAnsweredWhenAMessageArrives() throws Exception {
        for (int offset = 0; offset < 3; offset++) {
            CompletableFuture<PullResult> held = hold(consumer(20_000), "*", offset);
            assertHeld(held);
            clients.producer().send(Messages.of(topic, "wakes " + offset));
            PullResult result = held.get(10, TimeUnit.SECONDS);
            assertEquals(PullStatus.FOUND, result.getPullStatus());
            assertEquals("wakes " + offset, Messages.text(result.getMsgFoundList().get(0)));
            assertEquals(offset + 1, result.getNextBeginOffset());
        }
    }

    @Test
    void everyHeldPullOfAQueueIsAnswered() throws Exception {
        DefaultMQPullConsumer one = consumer(20_000);
        DefaultMQPullConsumer other = consumer(20_000);
        CompletableFuture<PullResult> first = hold(one, "*", 0);
        CompletableFuture<PullResult> second = hold(other, "*", 0);
        assertHeld(first);
        assertHeld(second);
        clients.producer().send(Messages.of(topic, "for both"));
        assertEquals(PullStatus.FOUND, first.get(10, TimeUnit.SECONDS).getPullStatus());
        assertEquals(PullStatus.FOUND, second.get(10, TimeUnit.SECONDS).getPullStatus());
    }

    @Test
    void heldPullWithoutMessagesTimesOut() throws Exception {
        clients.producer().send(Messages.of(topic, "old"));
        clients.reader().awaitMaxOffset(queue, 1);
        long heldAt = System.nanoTime();
        CompletableFuture<PullResult> held = hold(consumer(3000), "*", 1);
        // Apache looks for expired requests every 5 s, so up to 8 s are right.
        PullResult result = held.get(12, TimeUnit.SECONDS);
        long heldMs = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - heldAt);
        assertEquals(PullStatus.NO_NEW_MSG, result.getPullStatus());
        assertEquals(1, result.getNextBeginOffset());
        assertTrue(heldMs >= 2900, "held only " + heldMs + " ms");
    }

    /** A foreign message may be skipped at some time, but it is never delivered and does not stand in the way. */
    @Test
    void heldPullForATagIsAnsweredWithThisTag() throws Exception {
        DefaultMQPullConsumer consumer = consumer(20_000);
        CompletableFuture<PullResult> held = hold(consumer, "Wanted", 0);
        assertHeld(held);
        clients.producer().send(Messages.tagged(topic, "Foreign", "foreign"));
        assertHeld(held);
        clients.producer().send(Messages.tagged(topic, "Wanted", "wanted"));
        PullResult result = held.get(10, TimeUnit.SECONDS);
        if (result.getPullStatus() == PullStatus.NO_MATCHED_MSG) {
            assertEquals(1, result.getNextBeginOffset());
            result = hold(consumer, "Wanted", 1).get(10, TimeUnit.SECONDS);
        }
        assertEquals(PullStatus.FOUND, result.getPullStatus());
        assertEquals(1, result.getMsgFoundList().size());
        assertEquals("wanted", Messages.text(result.getMsgFoundList().get(0)));
        assertEquals(2, result.getNextBeginOffset());
    }

    private DefaultMQPullConsumer consumer(long holdMs) throws Exception {
        DefaultMQPullConsumer consumer = clients.newPullConsumer(Clients.name("group"));
        consumer.setBrokerSuspendMaxTimeMillis(holdMs);
        consumer.setConsumerTimeoutMillisWhenSuspend(holdMs + 10_000);
        consumer.start();
        return consumer;
    }

    private CompletableFuture<PullResult> hold(DefaultMQPullConsumer consumer, String expression, long offset) throws Exception {
        CompletableFuture<PullResult> answer = new CompletableFuture<>();
        consumer.pullBlockIfNotFound(queue, expression, offset, 32, new PullCallback() {
            @Override
            public void onSuccess(PullResult result) {
                answer.complete(result);
            }

            @Override
            public void onException(Throwable cause) {
                answer.completeExceptionally(cause);
            }
        });
        return answer;
    }

    /** Half a second without an answer is far longer than a pull that is not held takes. */
    private static void assertHeld(CompletableFuture<PullResult> answer) {
        assertThrows(TimeoutException.class, () -> answer.get(500, TimeUnit.MILLISECONDS));
    }
}
