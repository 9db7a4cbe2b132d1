package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

@Tag("main")
class LitePullConsumerTest {
    @RegisterExtension
    final Clients clients = new Clients();

    @Test
    void subscriberPollsEverythingAndTheNextOneContinues() throws Exception {
        String topic = clients.topic(4);
        String group = Clients.name("group");
        List<String> before = Messages.numbered("before", 100);
        clients.send(topic, before);
        DefaultLitePullConsumer first = subscriber(group, topic);
        assertEquals(before, texts(poll(first, 100)));
        first.commitSync();
        clients.reader().awaitCommitted(group, topic, 100);
        first.shutdown();

        List<String> after = Messages.numbered("after", 100);
        clients.send(topic, after);
        DefaultLitePullConsumer second = subscriber(group, topic);
        assertEquals(after, texts(poll(second, 100)));
    }

    @Test
    void subscriberGetsOnlyItsTags() throws Exception {
        String topic = clients.topic(1);
        for (String tag : List.of("A", "B", "A", "C", "A")) {
            clients.producer().send(Messages.tagged(topic, tag, tag));
        }
        DefaultLitePullConsumer consumer = clients.newLitePullConsumer(Clients.name("group"));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "A || C");
        consumer.start();
        assertEquals(List.of("A", "A", "A", "C"), texts(poll(consumer, 4)));
    }

    @Test
    void assignedReaderSeeksWhereItWants() throws Exception {
        String topic = clients.topic(2);
        List<MessageQueue> queues = clients.reader().queues(topic);
        for (MessageQueue queue : queues) {
            for (String text : Messages.numbered("queue" + queue.getQueueId(), 20)) {
                clients.producer().send(Messages.of(topic, text), queue);
            }
        }
        clients.reader().readAll(topic, 40);
        DefaultLitePullConsumer consumer = clients.newLitePullConsumer(Clients.name("group"));
        consumer.setAutoCommit(false);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.start();
        MessageQueue one = queues.get(1);
        consumer.assign(List.of(one));

        // Read to the end before each seek: the client keeps the messages of a pull that a seek overtakes.
        assertEquals(20, poll(consumer, 20).size());
        consumer.seek(one, 15);
        assertEquals(List.of(15L, 16L, 17L, 18L, 19L), offsets(poll(consumer, 5)));
        consumer.seekToBegin(one);
        List<MessageExt> all = poll(consumer, 20);
        assertEquals(Messages.numbered("queue1", 20), all.stream().map(Messages::text).collect(Collectors.toList()));
        consumer.seekToEnd(one);
        clients.producer().send(Messages.of(topic, "new"), one);
        List<MessageExt> last = poll(consumer, 1);
        assertEquals(List.of("new"), texts(last));
        assertEquals(List.of(20L), offsets(last));
    }

    @Test
    void offsetForTimestampIsWhereTheMessageIs() throws Exception {
        String topic = clients.topic(1);
        clients.send(topic, List.of("early"));
        MessageExt early = clients.reader().readAll(topic, 1).get(0);
        Await.until("the clock moved on", System::currentTimeMillis, now -> now > early.getStoreTimestamp() + 20);
        clients.send(topic, List.of("late"));
        MessageExt late = clients.reader().readAll(topic, 2).get(1);
        DefaultLitePullConsumer consumer = clients.newLitePullConsumer(Clients.name("group"));
        consumer.start();
        MessageQueue queue = clients.reader().queues(topic).get(0);
        assertEquals(1, consumer.offsetForTimestamp(queue, late.getStoreTimestamp()));
        assertEquals(0, consumer.offsetForTimestamp(queue, early.getStoreTimestamp()));
    }

    @Test
    void explicitCommitIsWhatCommittedReturns() throws Exception {
        String topic = clients.topic(1);
        clients.send(topic, Messages.numbered("commit", 10));
        String group = Clients.name("group");
        DefaultLitePullConsumer consumer = clients.newLitePullConsumer(group);
        consumer.setAutoCommit(false);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.start();
        assertEquals(10, poll(consumer, 10).size());
        MessageQueue queue = clients.reader().queues(topic).get(0);
        assertTrue(consumer.committed(queue) <= 0, "nothing committed yet");
        consumer.commitSync();
        clients.reader().awaitCommitted(group, topic, 10);
        assertEquals(10, consumer.committed(queue));
    }

    private DefaultLitePullConsumer subscriber(String group, String topic) throws Exception {
        DefaultLitePullConsumer consumer = clients.newLitePullConsumer(group);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.start();
        return consumer;
    }

    /** At least {@code count}; more than that shows in the comparison of the caller. */
    private static List<MessageExt> poll(DefaultLitePullConsumer consumer, int count) throws Exception {
        List<MessageExt> polled = new ArrayList<>();
        Await.until(count + " messages polled", () -> {
            polled.addAll(consumer.poll(500));
            return polled.size();
        }, size -> size >= count);
        return polled;
    }

    private static List<String> texts(List<MessageExt> messages) {
        return messages.stream().map(Messages::text).sorted().collect(Collectors.toList());
    }

    private static List<Long> offsets(List<MessageExt> messages) {
        return messages.stream().map(MessageExt::getQueueOffset).collect(Collectors.toList());
    }
}
