package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

@Tag("main")
class PullConsumerTest {
    @RegisterExtension
    final Clients clients = new Clients();

    private String topic;
    private String group;
    private MessageQueue queue;
    private DefaultMQPullConsumer consumer;

    @BeforeEach
    void startConsumerOnAQueue() throws Exception {
        topic = clients.topic(2);
        group = Clients.name("group");
        queue = clients.reader().queues(topic).get(1);
        consumer = clients.pullConsumer(group);
    }

    @Test
    void pullFindsMessagesAndSaysWhereToGoOn() throws Exception {
        fill(10);
        PullResult result = consumer.pull(queue, "*", 0, 4);
        assertEquals(PullStatus.FOUND, result.getPullStatus());
        assertEquals(List.of("pull-00000", "pull-00001", "pull-00002", "pull-00003"), texts(result));
        assertEquals(4, result.getNextBeginOffset());
        assertEquals(0, result.getMinOffset());
        assertEquals(10, result.getMaxOffset());

        PullResult rest = consumer.pull(queue, "*", result.getNextBeginOffset(), 32);
        assertEquals(6, rest.getMsgFoundList().size());
        assertEquals(10, rest.getNextBeginOffset());
    }

    @Test
    void onePullReturnsAtMostThirtyTwo() throws Exception {
        fill(50);
        PullResult result = consumer.pull(queue, "*", 5, 100);
        assertEquals(PullStatus.FOUND, result.getPullStatus());
        int count = result.getMsgFoundList().size();
        assertTrue(1 <= count && count <= 32, "messages " + count);
        assertEquals(5 + count, result.getNextBeginOffset());
    }

    @Test
    void pullAtTheEndFindsNoNewMessage() throws Exception {
        fill(3);
        PullResult result = consumer.pull(queue, "*", 3, 32);
        assertEquals(PullStatus.NO_NEW_MSG, result.getPullStatus());
        assertEquals(3, result.getNextBeginOffset());
        assertEquals(3, result.getMaxOffset());
    }

    @Test
    void pullFromAnEmptyQueueFindsNoNewMessage() throws Exception {
        PullResult result = consumer.pull(queue, "*", 0, 32);
        assertEquals(PullStatus.NO_NEW_MSG, result.getPullStatus());
        assertEquals(0, result.getNextBeginOffset());
    }

    @Test
    void pullPastTheEndIsIllegalAndPointsToTheEnd() throws Exception {
        fill(3);
        PullResult result = consumer.pull(queue, "*", 100, 32);
        assertEquals(PullStatus.OFFSET_ILLEGAL, result.getPullStatus());
        assertEquals(3, result.getNextBeginOffset());
        assertEquals(0, result.getMinOffset());
        assertEquals(3, result.getMaxOffset());
    }

    @Test
    void pullPastTheEndOfAnEmptyQueueIsIllegalAndPointsToZero() throws Exception {
        PullResult result = consumer.pull(queue, "*", 7, 32);
        assertEquals(PullStatus.OFFSET_ILLEGAL, result.getPullStatus());
        assertEquals(0, result.getNextBeginOffset());
    }

    @Test
    void filteredPullAdvancesPastForeignTags() throws Exception {
        fill(5);
        PullResult result = consumer.pull(queue, "Wanted", 0, 32);
        assertEquals(PullStatus.NO_MATCHED_MSG, result.getPullStatus());
        assertEquals(5, result.getNextBeginOffset());
    }

    @Test
    void offsetsOfAQueueGrowWithIt() throws Exception {
        assertEquals(0, consumer.minOffset(queue));
        assertEquals(0, consumer.maxOffset(queue));
        fill(5);
        assertEquals(0, consumer.minOffset(queue));
        assertEquals(5, consumer.maxOffset(queue));
        assertEquals(0, consumer.maxOffset(clients.reader().queues(topic).get(0)), "the other queue");
    }

    @Test
    void offsetIsFoundByStoreTime() throws Exception {
        long[] storedAt = new long[3];
        for (int i = 0; i < 3; i++) {
            clients.producer().send(Messages.of(topic, "time " + i), queue);
            MessageExt stored = clients.reader().readQueue(queue, i + 1).get(i);
            storedAt[i] = stored.getStoreTimestamp();
            Await.until("the clock moved on", System::currentTimeMillis, now -> now > stored.getStoreTimestamp() + 20);
        }
        for (int i = 0; i < 3; i++) {
            assertEquals(i, consumer.searchOffset(queue, storedAt[i]), "exactly its time");
        }
        assertEquals(2, consumer.searchOffset(queue, storedAt[1] + 1), "between two messages: the later one");
        assertEquals(0, consumer.searchOffset(queue, storedAt[0] - 100_000), "before the first");
        assertEquals(3, consumer.searchOffset(queue, storedAt[2] + 100_000), "after the last");
    }

    @Test
    void earliestStoreTimeIsThatOfTheFirstMessage() throws Exception {
        assertEquals(-1, consumer.earliestMsgStoreTime(queue), "no message yet");
        clients.producer().send(Messages.of(topic, "first"), queue);
        long storedAt = clients.reader().readQueue(queue, 1).get(0).getStoreTimestamp();
        assertEquals(storedAt, consumer.earliestMsgStoreTime(queue));

        Await.until("the clock moved on", System::currentTimeMillis, now -> now > storedAt + 20);
        clients.producer().send(Messages.of(topic, "second"), queue);
        assertTrue(clients.reader().readQueue(queue, 2).get(1).getStoreTimestamp() > storedAt);
        assertEquals(storedAt, consumer.earliestMsgStoreTime(queue), "a later message changes nothing");
        assertEquals(-1, consumer.earliestMsgStoreTime(clients.reader().queues(topic).get(0)), "the other queue");
    }

    @Test
    void queueThatIsNotThereHasNoEarliestStoreTime() throws Exception {
        fill(1);
        MessageQueue unknown = new MessageQueue(topic, queue.getBrokerName(), 99);
        assertEquals(-1, consumer.earliestMsgStoreTime(unknown));
    }

    @Test
    void committedOffsetIsReadByTheGroupAndByNoOther() throws Exception {
        fill(5);
        commit(3);
        assertEquals(3, consumer.fetchConsumeOffset(queue, true));
        assertEquals(3, clients.pullConsumer(group).fetchConsumeOffset(queue, true));
        assertEquals(0, clients.pullConsumer(Clients.name("other")).fetchConsumeOffset(queue, true));
    }

    @Test
    void committedOffsetCanGoBack() throws Exception {
        fill(5);
        commit(4);
        commit(1);
    }

    @Test
    void newGroupHasOffsetZeroOnAYoungQueueAndNoneOnAnEmptyOne() throws Exception {
        assertEquals(-1, consumer.fetchConsumeOffset(queue, true));
        fill(5);
        DefaultMQPullConsumer fresh = clients.pullConsumer(Clients.name("group"));
        assertEquals(0, fresh.fetchConsumeOffset(queue, true));
    }

    /**
     * A commit is sent oneway and a broker ignores it for a group it does not know. A group becomes known by its first pull, or
     * by its first heartbeat a second after the start, hence the pull in front.
     */
    private void commit(long offset) throws Exception {
        assertEquals(PullStatus.FOUND, consumer.pull(queue, "*", 0, 1).getPullStatus());
        consumer.updateConsumeOffset(queue, offset);
        // Without a rebalance nobody owns the queue and the client's timer commits nothing.
        consumer.getOffsetStore().persist(queue);
        Await.until("offset " + offset + " committed", () -> clients.reader().committed(group, queue), seen -> seen == offset);
    }

    private void fill(int count) throws Exception {
        for (String text : Messages.numbered("pull", count)) {
            clients.producer().send(Messages.tagged(topic, "Tag", text), queue);
        }
        clients.reader().awaitMaxOffset(queue, count);
    }

    private static List<String> texts(PullResult result) {
        return result.getMsgFoundList().stream().map(Messages::text).collect(Collectors.toList());
    }
}
