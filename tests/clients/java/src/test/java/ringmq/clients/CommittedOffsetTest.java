package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

@Tag("main")
class CommittedOffsetTest {
    @RegisterExtension
    final Clients clients = new Clients();

    /** One thread and batches of one: the only message in work when the consumer leaves is the one that blocks. */
    @Test
    void nextConsumerOfTheGroupContinuesWhereTheLastOneStopped() throws Exception {
        String topic = clients.topic(4);
        String group = Clients.name("group");
        List<String> texts = Messages.numbered("continue", 200);
        clients.send(topic, texts);

        List<String> accepted = Collections.synchronizedList(new ArrayList<>());
        CountDownLatch halfway = new CountDownLatch(1);
        CountDownLatch gone = new CountDownLatch(1);
        MessageListenerConcurrently stopsHalfway = (messages, context) -> {
            if (accepted.size() == 100) {
                halfway.countDown();
                awaitQuietly(gone);
            } else {
                accepted.add(Messages.text(messages.get(0)));
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        };
        DefaultMQPushConsumer first = clients.newPushConsumer(group);
        first.setConsumeThreadMin(1);
        first.setConsumeThreadMax(1);
        first.setConsumeMessageBatchMaxSize(1);
        first.subscribe(topic, "*");
        first.registerMessageListener(stopsHalfway);
        first.start();
        Await.until("half of the messages accepted", halfway::getCount, count -> count == 0);
        first.shutdown();
        gone.countDown();
        assertEquals(100, accepted.size());
        clients.reader().awaitCommitted(group, topic, 100);

        Inbox rest = new Inbox();
        DefaultMQPushConsumer second = clients.consume(group, topic, "*", rest);
        rest.awaitCount(100);
        second.shutdown();
        List<String> both = new ArrayList<>(accepted);
        both.addAll(rest.bodies());
        both.sort(null);
        assertEquals(texts, both);
    }

    @Test
    void consumerCommitsEverythingItConsumedWhenItLeaves() throws Exception {
        String topic = clients.topic(4);
        String group = Clients.name("group");
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer first = clients.consume(group, topic, "*", inbox);
        clients.send(topic, Messages.numbered("before", 100));
        inbox.awaitCount(100);
        first.shutdown();
        clients.reader().awaitCommitted(group, topic, 100);

        List<String> texts = Messages.numbered("after", 100);
        clients.send(topic, texts);
        Inbox next = new Inbox();
        DefaultMQPushConsumer second = clients.consume(group, topic, "*", next);
        next.awaitCount(100);
        second.shutdown();
        assertEquals(texts, next.bodies());
    }

    @Test
    void runningConsumerCommitsEveryFewSeconds() throws Exception {
        String topic = clients.topic(2);
        String group = Clients.name("group");
        Inbox inbox = new Inbox();
        clients.consume(group, topic, "*", inbox);
        clients.send(topic, Messages.numbered("running", 20));
        inbox.awaitCount(20);
        clients.reader().awaitCommitted(group, topic, 20);
    }

    private static void awaitQuietly(CountDownLatch latch) {
        try {
            latch.await(60, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
