package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;

/**
 * A failed message waits for delay level 3, then 4 and so on: 2 s each with {@code ../server}, and 20 s at the last level;
 * from 10 s to 2 h by default.
 */
@Tag("main")
@Execution(ExecutionMode.CONCURRENT)
class RetryTest {
    private static final long FIRST_DELAY_MS = 2_000;

    @RegisterExtension
    final Clients clients = new Clients();

    @Test
    @Tag("slow")
    void failedMessageComesBackAfterItsDelay() throws Exception {
        String topic = clients.topic(1);
        String group = Clients.name("group");
        Queue<Attempt> attempts = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer consumer = clients.consume(group, topic, "*", (messages, context) -> {
            messages.forEach(message -> attempts.add(new Attempt(message)));
            boolean first = messages.get(0).getReconsumeTimes() == 0;
            return first ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        SendResult sent = clients.producer().send(message(topic));
        Await.until("two attempts", attempts::size, size -> size >= 2);
        consumer.shutdown();

        assertEquals(2, attempts.size());
        Attempt first = attempts.poll();
        Attempt second = attempts.poll();
        assertEquals(0, first.reconsumeTimes);
        assertEquals(1, second.reconsumeTimes);
        // When the broker put it back; the client may find it much later, if its pulls are refused until its next heartbeat.
        long delayMs = second.message.getStoreTimestamp() - first.atMs;
        assertTrue(FIRST_DELAY_MS - 500 <= delayMs, "put back after " + delayMs + " ms");
        for (Attempt attempt : List.of(first, second)) {
            assertEquals(topic, attempt.topic, "the original topic, not the retry topic");
            assertIsTheMessage(attempt.message);
            assertEquals(sent.getMsgId(), attempt.message.getMsgId());
        }
        assertEquals(sent.getOffsetMsgId(), second.message.getProperty("ORIGIN_MESSAGE_ID"));
        // Delivery does not take the properties of the delay out of the stored text.
        assertEquals("3", second.message.getProperty("DELAY"));
        assertEquals("%RETRY%" + group, second.message.getProperty("REAL_TOPIC"));
        assertEquals(first.message.getBornTimestamp(), second.message.getBornTimestamp());
    }

    @Test
    @Tag("slow")
    void messageOutOfRetriesGoesToTheDeadLetterTopic() throws Exception {
        String topic = clients.topic(1);
        String group = Clients.name("group");
        Queue<Attempt> attempts = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer consumer = clients.newPushConsumer(group);
        consumer.setMaxReconsumeTimes(1);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently)
            (messages, context) -> {
                messages.forEach(message -> attempts.add(new Attempt(message)));
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            });
        consumer.start();
        SendResult sent = clients.producer().send(message(topic));

        String deadLetters = "%DLQ%" + group;
        clients.reader().awaitQueues(deadLetters, 1);
        MessageExt dead = clients.reader().readAll(deadLetters, 1).get(0);
        consumer.shutdown();
        assertEquals(2, attempts.size());
        assertEquals(List.of(0, 1), List.of(attempts.poll().reconsumeTimes, attempts.poll().reconsumeTimes));
        assertEquals(deadLetters, dead.getTopic());
        assertEquals(topic, dead.getProperty("RETRY_TOPIC"));
        assertEquals(2, dead.getReconsumeTimes());
        assertIsTheMessage(dead);
        assertEquals(sent.getMsgId(), dead.getMsgId());
        assertEquals(sent.getOffsetMsgId(), dead.getProperty("ORIGIN_MESSAGE_ID"));
    }

    @Test
    void negativeDelayLevelGoesStraightToTheDeadLetterTopic() throws Exception {
        String topic = clients.topic(1);
        String group = Clients.name("group");
        Queue<Attempt> attempts = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer consumer = clients.consume(group, topic, "*", (messages, context) -> {
            messages.forEach(message -> attempts.add(new Attempt(message)));
            context.setDelayLevelWhenNextConsume(-1);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        clients.producer().send(message(topic));
        String deadLetters = "%DLQ%" + group;
        clients.reader().awaitQueues(deadLetters, 1);
        assertIsTheMessage(clients.reader().readAll(deadLetters, 1).get(0));
        consumer.shutdown();
        assertEquals(1, attempts.size());
    }

    /** The number of attempts is exact, and so is what each attempt is told of the one before. */
    @Test
    @Tag("slow")
    void deadAfterExactlyTheConfiguredAttempts() throws Exception {
        String topic = clients.topic(1);
        String group = Clients.name("group");
        Queue<Attempt> attempts = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer consumer = clients.newPushConsumer(group);
        consumer.setMaxReconsumeTimes(5);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> attempts.add(new Attempt(message)));
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        consumer.start();
        SendResult sent = clients.producer().send(message(topic));
        String deadLetters = "%DLQ%" + group;
        clients.reader().awaitQueues(deadLetters, 1);
        MessageExt dead = clients.reader().readAll(deadLetters, 1).get(0);
        clients.reader().awaitCommitted(group, "%RETRY%" + group, 5);
        consumer.shutdown();

        int times = 0;
        for (Attempt attempt : attempts) {
            assertEquals(times, attempt.reconsumeTimes);
            assertEquals(topic, attempt.topic);
            assertIsTheMessage(attempt.message);
            assertEquals(sent.getMsgId(), attempt.message.getMsgId());
            if (times > 0) {
                // Delay level 3 for the first time.
                assertEquals(String.valueOf(times + 2), attempt.message.getProperty("DELAY"));
                assertEquals(topic, attempt.message.getProperty("RETRY_TOPIC"));
                assertEquals("%RETRY%" + group, attempt.message.getProperty("REAL_TOPIC"));
                assertEquals("0", attempt.message.getProperty("REAL_QID"));
                assertEquals(sent.getOffsetMsgId(), attempt.message.getProperty("ORIGIN_MESSAGE_ID"));
                assertEquals(attempts.peek().message.getBornTimestamp(), attempt.message.getBornTimestamp());
            }
            times++;
        }
        assertEquals(6, times, "the first attempt and five more");
        assertEquals(6, dead.getReconsumeTimes());
        assertEquals(topic, dead.getProperty("RETRY_TOPIC"));
        assertEquals(sent.getMsgId(), dead.getMsgId());
        assertEquals(sent.getOffsetMsgId(), dead.getProperty("ORIGIN_MESSAGE_ID"));
        // Names for gRPC clients; the broker of 5.3.3 never writes them.
        assertNull(dead.getProperty("DLQ_ORIGIN_TOPIC"));
        assertNull(dead.getProperty("DLQ_ORIGIN_MESSAGE_ID"));
    }

    /** An orderly consumer keeps a message that fails, counts by itself, and sends it to the retry topic in the end. */
    @Test
    @Tag("slow")
    @Tag("locks")
    void orderlyMessageOutOfRetriesMakesRoomForTheNext() throws Exception {
        String topic = clients.topic(1);
        String group = Clients.name("group");
        Queue<String> attempts = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer consumer = clients.newPushConsumer(group);
        consumer.setMaxReconsumeTimes(2);
        consumer.setSuspendCurrentQueueTimeMillis(100);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            MessageExt message = messages.get(0);
            attempts.add(Messages.text(message) + " " + message.getReconsumeTimes());
            return Messages.text(message).equals("fails") ? ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT : ConsumeOrderlyStatus.SUCCESS;
        });
        clients.producer().send(Messages.of(topic, "before"));
        SendResult sent = clients.producer().send(message(topic));
        clients.producer().send(Messages.of(topic, "after"));
        consumer.start();
        String deadLetters = "%DLQ%" + group;
        clients.reader().awaitQueues(deadLetters, 1);
        MessageExt dead = clients.reader().readAll(deadLetters, 1).get(0);
        Await.until("the next one", () -> List.copyOf(attempts), seen -> seen.contains("after 0"));
        clients.reader().awaitCommitted(group, topic, 3);
        assertEquals(List.of("before 0", "fails 0", "fails 1", "fails 2", "after 0"), List.copyOf(attempts));
        assertIsTheMessage(dead);
        assertEquals(topic, dead.getProperty("RETRY_TOPIC"));
        assertEquals(sent.getMsgId(), dead.getProperty("ORIGIN_MESSAGE_ID"), "the client's id: it sends the message itself");
        consumer.shutdown();
    }

    private static Message message(String topic) {
        Message message = Messages.tagged(topic, "TagA", "fails");
        message.setKeys("key");
        message.putUserProperty("colour", "red");
        return message;
    }

    private static void assertIsTheMessage(MessageExt message) {
        assertEquals("fails", Messages.text(message));
        assertEquals("TagA", message.getTags());
        assertEquals("key", message.getKeys());
        assertEquals("red", message.getUserProperty("colour"));
    }

    /** What the listener saw, copied: the client changes a message after the listener returned. */
    private static final class Attempt {
        final long atMs = System.currentTimeMillis();
        final String topic;
        final int reconsumeTimes;
        final MessageExt message;

        Attempt(MessageExt message) {
            this.topic = message.getTopic();
            this.reconsumeTimes = message.getReconsumeTimes();
            this.message = message;
        }
    }
}
