package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.store.OffsetStore;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.client.consumer.store.RemoteBrokerOffsetStore;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Reads topics by pull, without subscription, rebalancing or committed offsets: what is stored, not what is delivered.
 *
 * <p>All reads wait for the expected number of messages, since an acknowledged message may become visible a moment later
 * (Apache builds the consume queue behind the answer).
 */
final class TopicReader {
    final DefaultMQPullConsumer consumer;

    TopicReader(DefaultMQPullConsumer consumer) {
        this.consumer = consumer;
    }

    /** In order of queue id; empty while the topic is unknown. */
    List<MessageQueue> queues(String topic) {
        try {
            List<MessageQueue> queues = new ArrayList<>(consumer.fetchSubscribeMessageQueues(topic));
            queues.sort(null);
            return queues;
        } catch (MQClientException noRoute) {
            return List.of();
        }
    }

    List<MessageQueue> awaitQueues(String topic, int count) throws Exception {
        return Await.until(count + " queues of " + topic, () -> queues(topic), queues -> queues.size() == count);
    }

    /** All messages of the topic, queue by queue, in order of offset. */
    List<MessageExt> readAll(String topic, int count) throws Exception {
        Await.until(count + " messages visible in " + topic, () -> countOf(topic), seen -> seen >= count);
        List<MessageExt> messages = new ArrayList<>();
        for (MessageQueue queue : queues(topic)) {
            messages.addAll(readQueue(queue, 0));
        }
        assertEquals(count, messages.size(), "messages in " + topic);
        return messages;
    }

    List<MessageExt> readQueue(MessageQueue queue, int count) throws Exception {
        awaitMaxOffset(queue, count);
        List<MessageExt> messages = new ArrayList<>();
        long offset = consumer.minOffset(queue);
        long end = consumer.maxOffset(queue);
        while (offset < end) {
            PullResult result = consumer.pull(queue, "*", offset, 32);
            assertEquals(PullStatus.FOUND, result.getPullStatus(), queue + " at " + offset + " of " + end + ": " + result);
            messages.addAll(result.getMsgFoundList());
            offset = result.getNextBeginOffset();
        }
        return messages;
    }

    void awaitMaxOffset(MessageQueue queue, long offset) throws Exception {
        Await.until("offset " + offset + " of " + queue, () -> consumer.maxOffset(queue), seen -> seen >= offset);
    }

    /** The offset that the broker keeps for the group, -1 for none; asked without joining the group. */
    long committed(String group, MessageQueue queue) {
        return offsetsOf(group).readOffset(queue, ReadOffsetType.READ_FROM_STORE);
    }

    /** Over all queues: in a topic read from its beginning, how many messages the group is done with. */
    long committedSum(String group, String topic) {
        return queues(topic).stream().mapToLong(queue -> Math.max(0, committed(group, queue))).sum();
    }

    /** Commits travel oneway, so they are waited for. */
    void awaitCommitted(String group, String topic, long sum) throws Exception {
        Await.until(sum + " messages of " + topic + " committed", () -> committedSum(group, topic), seen -> seen == sum);
    }

    private OffsetStore offsetsOf(String group) {
        return new RemoteBrokerOffsetStore(consumer.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory(), group);
    }

    private long countOf(String topic) throws MQClientException {
        long count = 0;
        for (MessageQueue queue : queues(topic)) {
            count += consumer.maxOffset(queue) - consumer.minOffset(queue);
        }
        return count;
    }
}
