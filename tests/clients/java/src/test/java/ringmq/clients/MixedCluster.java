package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/**
 * One topic on several masters of different make: a client sees no difference. Run by tests/interop/run, which names the
 * brokers; not by tests/clients/run, whose server is alone.
 */
class MixedCluster {
    private static final int QUEUES_PER_BROKER = 4;

    @RegisterExtension
    final Clients clients = new Clients();

    /** Their names. */
    private final Set<String> brokers = new TreeSet<>(List.of(System.getProperty("brokers").split(",")));

    @Test
    void sendsGoRoundAllQueuesAndEachBrokerKeepsItsShare() throws Exception {
        String topic = mixedTopic();
        int perQueue = 100;
        int count = perQueue * QUEUES_PER_BROKER * brokers.size();
        List<MessageQueue> targets = new ArrayList<>();
        for (String text : Messages.numbered("round", count)) {
            SendResult result = clients.producer().send(Messages.of(topic, text));
            assertEquals(SendStatus.SEND_OK, result.getSendStatus());
            targets.add(result.getMessageQueue());
        }
        Map<MessageQueue, Long> shares =
            targets.stream().collect(Collectors.groupingBy(Function.identity(), Collectors.counting()));
        assertEquals(QUEUES_PER_BROKER * brokers.size(), shares.size());
        shares.forEach((queue, share) -> assertEquals(perQueue, share, queue.toString()));
        List<MessageExt> stored = clients.reader().readAll(topic, count);
        Map<String, Long> perBroker =
            stored.stream().collect(Collectors.groupingBy(MessageExt::getBrokerName, Collectors.counting()));
        assertEquals(brokers, new TreeSet<>(perBroker.keySet()));
        perBroker.values().forEach(share -> assertEquals((long) perQueue * QUEUES_PER_BROKER, share));
        assertEquals(Messages.numbered("round", count), texts(stored));
    }

    @Test
    void aGroupConsumesAllOfItOnceAndGoesOnWhereItWas() throws Exception {
        String topic = mixedTopic();
        String group = Clients.name("group");
        List<String> before = Messages.numbered("before", 400);
        clients.send(topic, before);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer first = clients.consume(group, topic, "*", inbox);
        inbox.awaitCount(before.size());
        first.shutdown();
        assertEquals(before, inbox.bodies());
        assertEquals(brokers, brokersOf(inbox.messages()));
        clients.reader().awaitCommitted(group, topic, before.size());

        List<String> after = Messages.numbered("after", 400);
        clients.send(topic, after);
        Inbox next = new Inbox();
        DefaultMQPushConsumer second = clients.consume(group, topic, "*", next);
        next.awaitCount(after.size());
        second.shutdown();
        assertEquals(after, next.bodies(), "both brokers know where the group was");
    }

    @Test
    void twoConsumersShareTheQueuesOfAllBrokers() throws Exception {
        String topic = mixedTopic();
        String group = Clients.name("group");
        Inbox one = new Inbox();
        Inbox other = new Inbox();
        DefaultMQPushConsumer first = clients.consume(group, topic, "*", one);
        DefaultMQPushConsumer second = clients.consume(group, topic, "*", other);
        int each = QUEUES_PER_BROKER * brokers.size() / 2;
        Await.until("half the queues each", () -> List.of(queuesOf(first, topic), queuesOf(second, topic)),
            both -> both.equals(List.of(each, each)));
        List<String> texts = Messages.numbered("shared", 400);
        clients.send(topic, texts);
        Await.until("all delivered", () -> one.messages().size() + other.messages().size(), count -> count >= 400);
        List<MessageExt> all = new ArrayList<>(one.messages());
        all.addAll(other.messages());
        assertEquals(texts, texts(all));
        assertTrue(one.messages().size() == 200, "half of them: " + one.messages().size());
    }

    @Test
    void whatFailsComesBackFromTheBrokerThatHasIt() throws Exception {
        String topic = mixedTopic();
        Queue<MessageExt> attempts = new ConcurrentLinkedQueue<>();
        clients.consume(Clients.name("group"), topic, "*", (messages, context) -> {
            attempts.addAll(messages);
            boolean first = messages.get(0).getReconsumeTimes() == 0;
            return first ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        int count = QUEUES_PER_BROKER * brokers.size();
        List<String> texts = Messages.numbered("retry", count);
        clients.send(topic, texts);
        Await.until("each twice", attempts::size, size -> size >= 2 * count);
        List<MessageExt> again =
            attempts.stream().filter(message -> message.getReconsumeTimes() == 1).collect(Collectors.toList());
        assertEquals(texts, texts(again));
        assertEquals(brokers, brokersOf(again));
    }

    /** A topic on every broker that has the template topic, known to the name server when this returns. */
    private String mixedTopic() throws Exception {
        String topic = Clients.name("mixed");
        ClientVersion.createTopic(clients.producer(), "TBW102", topic, QUEUES_PER_BROKER);
        List<MessageQueue> queues = clients.reader().awaitQueues(topic, QUEUES_PER_BROKER * brokers.size());
        Set<String> found = queues.stream().map(MessageQueue::getBrokerName).collect(Collectors.toCollection(TreeSet::new));
        assertEquals(brokers, found);
        return topic;
    }

    private static int queuesOf(DefaultMQPushConsumer consumer, String topic) {
        return (int) consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().stream()
            .filter(queue -> queue.getTopic().equals(topic)).count();
    }

    private static List<String> texts(List<MessageExt> messages) {
        return messages.stream().map(Messages::text).sorted().collect(Collectors.toList());
    }

    private static Set<String> brokersOf(List<MessageExt> messages) {
        return messages.stream().map(MessageExt::getBrokerName).collect(Collectors.toCollection(TreeSet::new));
    }
}
