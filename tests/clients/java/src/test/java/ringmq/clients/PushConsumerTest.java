package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

@Tag("main")
class PushConsumerTest {
    @RegisterExtension
    final Clients clients = new Clients();

    @Test
    void oneConsumerGetsEverythingExactlyOnce() throws Exception {
        String topic = clients.topic(8);
        List<String> texts = Messages.numbered("once", 1000);
        clients.send(topic, texts.subList(0, 500));
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = clients.consume(Clients.name("group"), topic, "*", inbox);
        clients.send(topic, texts.subList(500, 1000));
        inbox.awaitCount(1000);
        consumer.shutdown();
        assertEquals(texts, inbox.bodies());
        for (MessageExt message : inbox.messages()) {
            assertEquals(topic, message.getTopic());
            assertEquals(0, message.getReconsumeTimes());
        }
    }

    @Test
    void twoConsumersShareTheQueuesAndOneTakesOverWhenTheOtherLeaves() throws Exception {
        String topic = clients.topic(8);
        String group = Clients.name("group");
        Inbox stayingInbox = new Inbox();
        Inbox leavingInbox = new Inbox();
        DefaultMQPushConsumer staying = clients.consume(group, topic, "*", stayingInbox);
        Set<Integer> all = Set.of(0, 1, 2, 3, 4, 5, 6, 7);
        Await.until("all queues to the only consumer", () -> Clients.assigned(staying, topic), all::equals);
        DefaultMQPushConsumer leaving = clients.consume(group, topic, "*", leavingInbox);
        Await.until("four queues each", () -> List.of(Clients.assigned(staying, topic), Clients.assigned(leaving, topic)),
            both -> both.get(0).size() == 4 && both.get(1).size() == 4 && union(both.get(0), both.get(1)).equals(all));
        Set<Integer> ofStaying = Clients.assigned(staying, topic);
        Set<Integer> ofLeaving = Clients.assigned(leaving, topic);

        List<String> shared = Messages.numbered("shared", 400);
        clients.send(topic, shared);
        Await.until("all 400 delivered", () -> distinct(stayingInbox, leavingInbox).size(), count -> count == 400);
        assertEquals(shared, new ArrayList<>(distinct(stayingInbox, leavingInbox)));
        assertEquals(ofStaying, queuesOf(stayingInbox));
        assertEquals(ofLeaving, queuesOf(leavingInbox));

        leaving.shutdown();
        Await.until("all queues to the consumer that stays", () -> Clients.assigned(staying, topic), all::equals);
        assertEquals(shared, sorted(stayingInbox, leavingInbox), "each exactly once while both were there");
        List<String> alone = Messages.numbered("alone", 400);
        clients.send(topic, alone);
        Await.until("all 400 more delivered to one",
            () -> stayingInbox.bodies().stream().filter(text -> text.startsWith("alone")).count(), count -> count >= 400);
        staying.shutdown();
        assertEquals(alone,
            stayingInbox.bodies().stream().filter(text -> text.startsWith("alone")).collect(Collectors.toList()));
        assertEquals(200, leavingInbox.bodies().size(), "the one that left gets nothing more");
    }

    @Test
    void broadcastReachesEveryConsumer() throws Exception {
        String topic = clients.topic(4);
        String group = Clients.name("group");
        List<Inbox> inboxes = List.of(new Inbox(), new Inbox());
        List<DefaultMQPushConsumer> consumers = new ArrayList<>();
        for (Inbox inbox : inboxes) {
            DefaultMQPushConsumer consumer = clients.newPushConsumer(group);
            ClientVersion.setBroadcasting(consumer);
            consumer.subscribe(topic, "*");
            consumer.registerMessageListener(inbox);
            consumer.start();
            consumers.add(consumer);
        }
        List<String> texts = Messages.numbered("broadcast", 200);
        clients.send(topic, texts);
        for (int i = 0; i < 2; i++) {
            inboxes.get(i).awaitCount(200);
            consumers.get(i).shutdown();
            assertEquals(texts, inboxes.get(i).bodies());
        }
    }

    @Test
    void groupsAreIndependent() throws Exception {
        String topic = clients.topic(4);
        List<String> texts = Messages.numbered("groups", 100);
        Inbox early = new Inbox();
        DefaultMQPushConsumer first = clients.consume(Clients.name("group"), topic, "*", early);
        clients.send(topic, texts);
        early.awaitCount(100);
        first.shutdown();
        assertEquals(texts, early.bodies());

        Inbox late = new Inbox();
        DefaultMQPushConsumer second = clients.consume(Clients.name("group"), topic, "*", late);
        late.awaitCount(100);
        second.shutdown();
        assertEquals(texts, late.bodies());
    }

    @Test
    void tagExpressionDeliversOnlyTheseTags() throws Exception {
        // One queue, so that the last message is the last one delivered.
        String topic = clients.topic(1);
        List<String> expected = new ArrayList<>();
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = clients.consume(Clients.name("group"), topic, "TagA || TagC", inbox);
        for (int i = 0; i < 100; i++) {
            String tag = "Tag" + "ABCDE".charAt(i % 5);
            String text = String.format("%s-%05d", tag, i);
            if (tag.equals("TagE")) {
                clients.producer().send(Messages.of(topic, "no tag at all"));
            } else {
                clients.producer().send(Messages.tagged(topic, tag, text));
            }
            if (tag.equals("TagA") || tag.equals("TagC")) {
                expected.add(text);
            }
        }
        clients.producer().send(Messages.tagged(topic, "TagC", "last"));
        expected.add("last");
        expected.sort(null);
        inbox.awaitCount(expected.size());
        consumer.shutdown();
        assertEquals(expected, inbox.bodies());
    }

    /** From the client's next heartbeat on; what it pulled before came through the old expression. */
    @Test
    void newerExpressionOfARunningConsumerCounts() throws Exception {
        String topic = clients.topic(1);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = clients.consume(Clients.name("group"), topic, "TagA", inbox);
        clients.producer().send(Messages.tagged(topic, "TagB", "too early"));
        clients.producer().send(Messages.tagged(topic, "TagA", "first"));
        inbox.awaitCount(1);
        clients.reader().awaitCommitted(consumer.getConsumerGroup(), topic, 2);
        consumer.subscribe(topic, "TagB");
        Await.until("a message with the new tag", () -> {
            clients.producer().send(Messages.tagged(topic, "TagB", "second"));
            return inbox.bodies();
        }, bodies -> bodies.contains("second"));
        int seen = inbox.messages().size();
        clients.producer().send(Messages.tagged(topic, "TagA", "no more"));
        clients.producer().send(Messages.tagged(topic, "TagB", "last"));
        Await.until("the last", inbox::bodies, bodies -> bodies.contains("last"));
        consumer.shutdown();
        assertTrue(seen >= 2);
        assertEquals(Set.of("first", "second", "last"), Set.copyOf(inbox.bodies()));
    }

    @Test
    void topicThatIsNoLongerSubscribedIsNoLongerDelivered() throws Exception {
        String stays = clients.topic(1);
        String goes = clients.topic(1);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = clients.newPushConsumer(Clients.name("group"));
        consumer.subscribe(stays, "*");
        consumer.subscribe(goes, "*");
        consumer.registerMessageListener(inbox);
        consumer.start();
        clients.producer().send(Messages.of(goes, "delivered"));
        inbox.awaitCount(1);
        // The client forgets without a commit what it had of a topic that it leaves.
        clients.reader().awaitCommitted(consumer.getConsumerGroup(), goes, 1);
        consumer.unsubscribe(goes);
        Await.until("no queue of it", () -> Clients.assigned(consumer, goes), Set::isEmpty);
        clients.producer().send(Messages.of(goes, "not delivered"));
        clients.producer().send(Messages.of(stays, "last"));
        inbox.awaitCount(2);
        assertEquals(List.of("delivered", "last"), inbox.bodies());
        consumer.subscribe(goes, "*");
        Await.until("it comes again", inbox::bodies, List.of("delivered", "last", "not delivered")::equals);
    }

    /** "Aa" and "BB" have the same Java hash, which is all that a consume queue keeps of a tag. */
    @Test
    void tagsWithEqualHashAreToldApart() throws Exception {
        assertEquals("Aa".hashCode(), "BB".hashCode());
        String topic = clients.topic(1);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = clients.consume(Clients.name("group"), topic, "Aa", inbox);
        clients.producer().send(Messages.tagged(topic, "BB", "foreign"));
        clients.producer().send(Messages.tagged(topic, "Aa", "wanted"));
        inbox.awaitCount(1);
        consumer.shutdown();
        assertEquals(List.of("wanted"), inbox.bodies());
    }

    /** As long as offset 0 is still in memory a new group starts there, whatever it asked for. */
    @ParameterizedTest
    @EnumSource(names = {"CONSUME_FROM_FIRST_OFFSET", "CONSUME_FROM_LAST_OFFSET"})
    void newGroupOnAYoungTopicStartsAtZero(ConsumeFromWhere where) throws Exception {
        String topic = clients.topic(4);
        List<String> texts = Messages.numbered("young", 40);
        clients.send(topic, texts);
        assertEquals(40, clients.reader().readAll(topic, 40).size());
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = clients.newPushConsumer(Clients.name("group"));
        consumer.setConsumeFromWhere(where);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(inbox);
        consumer.start();
        inbox.awaitCount(40);
        consumer.shutdown();
        assertEquals(texts, inbox.bodies());
    }

    @Test
    void deliveredMessageKnowsTheBoundsOfItsQueue() throws Exception {
        String topic = clients.topic(1);
        clients.send(topic, Messages.numbered("bounds", 3));
        clients.reader().awaitMaxOffset(clients.reader().queues(topic).get(0), 3);
        Inbox inbox = new Inbox();
        clients.consume(Clients.name("group"), topic, "*", inbox);
        inbox.awaitCount(3);
        for (MessageExt message : inbox.messages()) {
            assertEquals("0", message.getProperty("MIN_OFFSET"));
            assertTrue(Long.parseLong(message.getProperty("MAX_OFFSET")) >= 3, message.getProperties().toString());
        }
    }

    private static Set<Integer> union(Set<Integer> one, Set<Integer> other) {
        Set<Integer> union = new HashSet<>(one);
        union.addAll(other);
        return union;
    }

    private static TreeSet<String> distinct(Inbox one, Inbox other) {
        TreeSet<String> texts = new TreeSet<>(one.bodies());
        texts.addAll(other.bodies());
        return texts;
    }

    private static List<String> sorted(Inbox one, Inbox other) {
        List<String> texts = new ArrayList<>(one.bodies());
        texts.addAll(other.bodies());
        texts.sort(null);
        return texts;
    }

    private static Set<Integer> queuesOf(Inbox inbox) {
        return inbox.messages().stream().map(MessageExt::getQueueId).collect(Collectors.toSet());
    }
}
