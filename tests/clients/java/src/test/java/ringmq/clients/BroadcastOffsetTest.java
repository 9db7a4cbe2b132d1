package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/**
 * A broadcasting consumer keeps its offsets itself. Only for it the client decides where a young topic is begun; the first
 * offset of a clustering group is the broker's decision ({@code PushConsumerTest.newGroupOnAYoungTopicStartsAtZero}).
 */
@Tag("main")
class BroadcastOffsetTest {
    @RegisterExtension
    final Clients clients = new Clients();

    @Test
    void consumerGoesOnWhereItStopped() throws Exception {
        String topic = clients.topic(4);
        String group = Clients.name("group");
        String instance = Clients.name("instance");
        for (String run : List.of("first", "second", "third")) {
            List<String> texts = Messages.numbered(run, 100);
            clients.send(topic, texts);
            Inbox inbox = new Inbox();
            DefaultMQPushConsumer consumer = broadcasting(group, topic, inbox);
            consumer.setInstanceName(instance);
            consumer.start();
            inbox.awaitCount(100);
            consumer.shutdown();
            assertEquals(texts, inbox.bodies());
        }
    }

    @Test
    void firstLastAndTimestampAreWhereTheySay() throws Exception {
        String topic = clients.topic(4);
        List<String> early = Messages.numbered("early", 40);
        List<String> late = Messages.numbered("late", 40);
        clients.send(topic, early);
        // The client gives the time in whole seconds.
        LocalDateTime between = LocalDateTime.now().truncatedTo(ChronoUnit.SECONDS).plusSeconds(2);
        Await.until("the second between", LocalDateTime::now, now -> now.isAfter(between.plusNanos(100_000_000)));
        clients.send(topic, late);
        List<String> all = new ArrayList<>(early);
        all.addAll(late);

        Inbox first = new Inbox();
        start(topic, first, ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET, between);
        Inbox timestamp = new Inbox();
        start(topic, timestamp, ConsumeFromWhere.CONSUME_FROM_TIMESTAMP, between);
        Inbox last = new Inbox();
        start(topic, last, ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET, between);
        first.awaitCount(80);
        timestamp.awaitCount(40);
        // Whoever starts at the last offset shows that it started by getting something from every queue.
        Await.until("the one from the last offset on has all queues", () -> {
            clients.send(topic, Messages.numbered("marker", 4));
            return last.messages().stream().map(MessageExt::getQueueId).collect(Collectors.toSet());
        }, Set.of(0, 1, 2, 3)::equals);
        List<String> later = Messages.numbered("other", 40);
        clients.send(topic, later);
        for (Inbox inbox : List.of(first, timestamp, last)) {
            Await.until("what came later", () -> of("other", inbox).size(), size -> size >= 40);
            assertEquals(later, of("other", inbox));
        }
        assertEquals(all, of("early|late", first));
        assertEquals(late, of("early|late", timestamp));
        assertEquals(List.of(), of("early|late", last));
    }

    private void start(String topic, Inbox inbox, ConsumeFromWhere where, LocalDateTime time) throws Exception {
        DefaultMQPushConsumer consumer = broadcasting(Clients.name("group"), topic, inbox);
        consumer.setConsumeFromWhere(where);
        consumer.setConsumeTimestamp(time.format(DateTimeFormatter.ofPattern("yyyyMMddHHmmss")));
        consumer.start();
    }

    private DefaultMQPushConsumer broadcasting(String group, String topic, Inbox inbox) throws Exception {
        DefaultMQPushConsumer consumer = clients.newPushConsumer(group);
        ClientVersion.setBroadcasting(consumer);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(inbox);
        return consumer;
    }

    private static List<String> of(String prefixes, Inbox inbox) {
        return inbox.bodies().stream().filter(text -> text.matches("(" + prefixes + ")-.*")).collect(Collectors.toList());
    }
}
