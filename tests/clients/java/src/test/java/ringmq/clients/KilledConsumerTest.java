package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;
import ringmq.clients.ConsumerProcess.Received;

/** Mostly waiting, therefore beside the other classes: the locks of a killed consumer last 60 s. */
@Tag("main")
@Execution(ExecutionMode.CONCURRENT)
class KilledConsumerTest {
    private static final Set<Integer> ALL = Set.of(0, 1, 2, 3);

    @RegisterExtension
    final Clients clients = new Clients();

    @Test
    void queuesOfAKilledConsumerGoToTheOther() throws Exception {
        String topic = clients.topic(4);
        String group = Clients.name("group");
        List<String> texts = Messages.numbered("kill", 1000);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer staying = clients.consume(group, topic, "*", inbox);
        Await.until("all queues to the only consumer", () -> Clients.assigned(staying, topic), ALL::equals);
        try (ConsumerProcess victim = new ConsumerProcess(group, topic, ConsumerProcess.Order.CONCURRENT)) {
            Await.until("two queues stay", () -> Clients.assigned(staying, topic), queues -> queues.size() == 2);
            clients.send(topic, texts.subList(0, 500));
            Await.until("the other one consumes", victim::messages, messages -> messages.size() > 100);
            victim.close();
            clients.send(topic, texts.subList(500, 1000));
            Await.until("all queues to the one that stays", () -> Clients.assigned(staying, topic), ALL::equals);
            // What the killed one had consumed without a commit comes twice.
            Await.until("all delivered to one or the other", () -> union(inbox.bodies(), victim).size(), size -> size == 1000);
            assertEquals(texts, new ArrayList<>(union(inbox.bodies(), victim)));
        }
    }

    @Test
    @Tag("slow")
    @Tag("locks")
    void orderSurvivesAKilledConsumer() throws Exception {
        String topic = clients.topic(4);
        String group = Clients.name("group");
        Queue<Received> received = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer staying = clients.newPushConsumer(group);
        staying.subscribe(topic, "*");
        staying.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            messages.forEach(one -> received.add(new Received(one.getQueueId(), one.getQueueOffset(), Messages.text(one))));
            return ConsumeOrderlyStatus.SUCCESS;
        });
        staying.start();
        Await.until("all queues to the only consumer", () -> Clients.assigned(staying, topic), ALL::equals);
        try (ConsumerProcess victim = new ConsumerProcess(group, topic, ConsumerProcess.Order.ORDERLY)) {
            Await.until("two queues stay", () -> Clients.assigned(staying, topic), queues -> queues.size() == 2);
            for (int round = 0; round < 50; round++) {
                sendRound(topic, round);
            }
            Await.until("the other one consumes", victim::messages, messages -> messages.size() >= 50);
            victim.close();
            for (int round = 50; round < 100; round++) {
                sendRound(topic, round);
            }
            List<String> all = new ArrayList<>();
            for (int round = 0; round < 100; round++) {
                all.addAll(textsOf(round));
            }
            Await.until("all delivered to one or the other",
                () -> union(Received.texts(List.copyOf(received)), victim).size(), size -> size == 400);
            assertEquals(new TreeSet<>(all), union(Received.texts(List.copyOf(received)), victim));
            for (int queueId : ALL) {
                assertOneAfterTheOther(queueId, victim.messages());
                assertOneAfterTheOther(queueId, List.copyOf(received));
            }
        }
    }

    /** No two are swapped and none is left out, but where the queue was given away and taken back. */
    private static void assertOneAfterTheOther(int queueId, List<Received> messages) {
        List<Long> offsets = messages.stream().filter(message -> message.queueId == queueId)
            .map(message -> message.queueOffset).collect(Collectors.toList());
        int breaks = 0;
        for (int i = 1; i < offsets.size(); i++) {
            if (offsets.get(i) != offsets.get(i - 1) + 1) {
                breaks++;
            }
        }
        assertTrue(breaks <= 1, "queue " + queueId + " in the order " + offsets);
    }

    private void sendRound(String topic, int round) throws Exception {
        List<String> texts = textsOf(round);
        for (MessageQueue queue : clients.reader().queues(topic)) {
            clients.producer().send(Messages.of(topic, texts.get(queue.getQueueId())), queue);
        }
    }

    private static List<String> textsOf(int round) {
        return Messages.numbered(String.format("round-%03d", round), ALL.size());
    }

    private static TreeSet<String> union(List<String> texts, ConsumerProcess other) {
        TreeSet<String> union = new TreeSet<>(texts);
        union.addAll(Received.texts(other.messages()));
        return union;
    }
}
