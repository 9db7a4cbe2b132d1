package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;

/** Mostly waiting, therefore beside the other classes: a queue that changes its consumer waits for locks, 20 s a turn. */
@Tag("main")
@Tag("locks")
@Execution(ExecutionMode.CONCURRENT)
class OrderlyConsumptionTest {
    private static final int QUEUE_COUNT = 4;

    @RegisterExtension
    final Clients clients = new Clients();

    @Test
    void everyQueueIsConsumedInItsOrder() throws Exception {
        String topic = clients.topic(QUEUE_COUNT);
        Map<Integer, List<String>> sent = new HashMap<>();
        sendRounds(topic, "before", 100, sent);
        Queue<MessageExt> received = new ConcurrentLinkedQueue<>();
        consumeOrderly(Clients.name("group"), topic, accept(received));
        sendRounds(topic, "after", 100, sent);
        Await.until("800 delivered", received::size, size -> size >= 2 * 100 * QUEUE_COUNT);
        for (int queueId = 0; queueId < QUEUE_COUNT; queueId++) {
            assertEquals(sent.get(queueId), textsOf(queueId, received), "queue " + queueId);
        }
    }

    @Test
    void aConsumerThatLeavesHandsItsQueuesOverInOrder() throws Exception {
        String topic = clients.topic(QUEUE_COUNT);
        String group = Clients.name("group");
        Queue<MessageExt> ofStaying = new ConcurrentLinkedQueue<>();
        Queue<MessageExt> ofLeaving = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer staying = consumeOrderly(group, topic, accept(ofStaying));
        DefaultMQPushConsumer leaving = consumeOrderly(group, topic, accept(ofLeaving));
        Await.until("two queues each", () -> List.of(Clients.assigned(staying, topic), Clients.assigned(leaving, topic)),
            both -> both.get(0).size() == 2 && both.get(1).size() == 2);
        Set<Integer> moved = Clients.assigned(leaving, topic);
        Map<Integer, List<String>> shared = new HashMap<>();
        sendRounds(topic, "shared", 50, shared);
        Await.until("200 delivered", () -> ofStaying.size() + ofLeaving.size(), size -> size >= 50 * QUEUE_COUNT);
        leaving.shutdown();
        Map<Integer, List<String>> alone = new HashMap<>();
        sendRounds(topic, "alone", 50, alone);
        Await.until("200 more delivered", () -> ofStaying.size() + ofLeaving.size(), size -> size >= 2 * 50 * QUEUE_COUNT);
        for (int queueId = 0; queueId < QUEUE_COUNT; queueId++) {
            List<String> both = new ArrayList<>(shared.get(queueId));
            both.addAll(alone.get(queueId));
            if (moved.contains(queueId)) {
                assertEquals(shared.get(queueId), textsOf(queueId, ofLeaving), "queue " + queueId + " of the one that left");
                assertEquals(alone.get(queueId), textsOf(queueId, ofStaying), "queue " + queueId + " taken over");
            } else {
                assertEquals(both, textsOf(queueId, ofStaying), "queue " + queueId + " of the one that stayed");
            }
        }
    }

    @Test
    void failedMessageComesAgainBeforeTheNext() throws Exception {
        String topic = clients.topic(1);
        List<String> texts = Messages.numbered("order", 20);
        clients.send(topic, texts);
        Queue<MessageExt> received = new ConcurrentLinkedQueue<>();
        consumeOrderly(Clients.name("group"), topic, (messages, context) -> {
            received.addAll(messages);
            boolean failing = Messages.text(messages.get(0)).equals(texts.get(10));
            return failing && textsOf(0, received).stream().filter(texts.get(10)::equals).count() < 3
                ? ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT : ConsumeOrderlyStatus.SUCCESS;
        });
        List<String> expected = new ArrayList<>(texts.subList(0, 11));
        expected.addAll(List.of(texts.get(10), texts.get(10)));
        expected.addAll(texts.subList(11, 20));
        Await.until("22 attempts", received::size, size -> size >= expected.size());
        assertEquals(expected, textsOf(0, received));
    }

    /** What the client asks for under all that: a queue is one client's until it gives it back. */
    @Test
    void lockedQueueIsRefusedToOthersUntilItIsUnlocked() throws Exception {
        String topic = clients.topic(QUEUE_COUNT);
        String group = Clients.name("group");
        List<MessageQueue> queues = clients.reader().queues(topic);
        QueueLocks one = new QueueLocks(clients.reader().consumer, group, "one");
        QueueLocks other = new QueueLocks(clients.reader().consumer, group, "other");
        QueueLocks stranger = new QueueLocks(clients.reader().consumer, Clients.name("group"), "other");

        assertEquals(Set.of(queues.get(0), queues.get(1)), one.lock(queues.get(0), queues.get(1)));
        assertEquals(Set.of(queues.get(2)), other.lock(queues.get(1), queues.get(2)), "of two the one that is free");
        assertEquals(Set.of(queues.get(1)), one.lock(queues.get(1)), "its own again");
        assertEquals(Set.of(queues.get(0)), stranger.lock(queues.get(0)), "groups do not see each other's locks");
        other.unlock(queues.get(1));
        assertEquals(Set.of(), other.lock(queues.get(1)), "nobody unlocks what another holds");
        one.unlock(queues.get(1));
        assertEquals(Set.of(queues.get(1)), other.lock(queues.get(1)));
        assertEquals(Set.of(), one.lock(queues.get(1)));
        assertEquals(Set.of(queues.get(0), queues.get(3)), one.lock(queues.get(0), queues.get(2), queues.get(3)));
    }

    private DefaultMQPushConsumer consumeOrderly(String group, String topic, MessageListenerOrderly listener)
        throws MQClientException {
        DefaultMQPushConsumer consumer = clients.newPushConsumer(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(listener);
        consumer.start();
        return consumer;
    }

    private static MessageListenerOrderly accept(Queue<MessageExt> received) {
        return (messages, context) -> {
            received.addAll(messages);
            return ConsumeOrderlyStatus.SUCCESS;
        };
    }

    private void sendRounds(String topic, String prefix, int count, Map<Integer, List<String>> sent) throws Exception {
        for (String text : Messages.numbered(prefix, count)) {
            for (MessageQueue queue : clients.reader().queues(topic)) {
                clients.producer().send(Messages.of(topic, text), queue);
                sent.computeIfAbsent(queue.getQueueId(), id -> new ArrayList<>()).add(text);
            }
        }
    }

    private static List<String> textsOf(int queueId, Queue<MessageExt> received) {
        return received.stream().filter(message -> message.getQueueId() == queueId)
            .map(Messages::text).collect(Collectors.toList());
    }
}
