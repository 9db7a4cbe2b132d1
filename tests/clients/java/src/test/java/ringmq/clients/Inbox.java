package ringmq.clients;

import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageExt;

/** A listener that accepts every message and keeps it. */
final class Inbox implements MessageListenerConcurrently {
    private final Queue<MessageExt> received = new ConcurrentLinkedQueue<>();

    @Override
    public ConsumeConcurrentlyStatus consumeMessage(List<MessageExt> messages, ConsumeConcurrentlyContext context) {
        received.addAll(messages);
        return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    }

    List<MessageExt> messages() {
        return List.copyOf(received);
    }

    /** Sorted, since a concurrent listener has no order; with repetitions, so that lists compare as "exactly once". */
    List<String> bodies() {
        return received.stream().map(Messages::text).sorted().collect(Collectors.toList());
    }

    void awaitCount(int count) throws Exception {
        Await.until(count + " messages delivered", received::size, size -> size >= count);
    }
}
