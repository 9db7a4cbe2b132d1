package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;
import org.apache.rocketmq.remoting.protocol.body.Connection;
import org.apache.rocketmq.remoting.protocol.body.ConsumerConnection;
import org.apache.rocketmq.remoting.protocol.body.ConsumerRunningInfo;
import org.apache.rocketmq.remoting.protocol.body.QueueTimeSpan;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** Groups, their offsets and their members through mqadmin's library. */
@Tag("main")
class GroupAdminTest {
    private static final int QUEUES = 3;

    @RegisterExtension
    final Clients clients = new Clients();

    private DefaultMQAdminExt admin;
    private String broker;

    @BeforeEach
    void start() throws Exception {
        admin = TopicAdminTest.started();
        broker = TopicAdminTest.brokerOf(admin);
    }

    @AfterEach
    void stop() {
        admin.shutdown();
    }

    private static SubscriptionGroupConfig config(String group) {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        return config;
    }

    /** A topic with so many messages in each queue. */
    private String filled(int count) throws Exception {
        String topic = clients.topic(QUEUES);
        for (MessageQueue queue : clients.producer().fetchPublishMessageQueues(topic)) {
            for (int number = 0; number < count; number++) {
                clients.producer().send(Messages.of(topic, "q" + queue.getQueueId() + "n" + number), queue);
            }
        }
        return topic;
    }

    private long lag(String group, String topic) throws Exception {
        return admin.examineConsumeStats(group, topic).computeTotalDiff();
    }

    @Test
    void aGroupIsMadeChangedAndDeleted() throws Exception {
        String group = Clients.name("group");
        SubscriptionGroupConfig config = config(group);
        config.setRetryMaxTimes(3);
        config.setRetryQueueNums(2);
        config.setConsumeBroadcastEnable(false);
        config.setConsumeFromMinEnable(false);
        config.setWhichBrokerWhenConsumeSlowly(2);
        admin.createAndUpdateSubscriptionGroupConfig(broker, config);
        SubscriptionGroupConfig found = admin.examineSubscriptionGroupConfig(broker, group);
        assertEquals(config, found);
        String other = Clients.name("group");
        config.setConsumeEnable(false);
        admin.createAndUpdateSubscriptionGroupConfigList(broker, List.of(config(other), config));
        Map<String, SubscriptionGroupConfig> all =
            admin.getAllSubscriptionGroup(broker, 10_000).getSubscriptionGroupTable();
        assertFalse(all.get(group).isConsumeEnable());
        assertTrue(all.get(other).isConsumeEnable());
        admin.deleteSubscriptionGroup(broker, group, true);
        admin.deleteSubscriptionGroup(broker, other);
        all = admin.getAllSubscriptionGroup(broker, 10_000).getSubscriptionGroupTable();
        assertFalse(all.containsKey(group) || all.containsKey(other));
    }

    @Test
    void progressAndMembersAreShown() throws Exception {
        String topic = filled(4);
        String group = Clients.name("progress");
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = clients.consume(group, topic, "*", inbox);
        inbox.awaitCount(4 * QUEUES);
        Await.until("everything is committed", () -> lag(group, topic), lag -> lag == 0);
        ConsumeStats stats = admin.examineConsumeStats(group, topic);
        assertEquals(QUEUES, stats.getOffsetTable().size());
        stats.getOffsetTable().values().forEach(offset -> assertTrue(offset.getLastTimestamp() > 0));
        assertTrue(admin.examineConsumeStats(group).getOffsetTable().keySet().stream()
            .anyMatch(queue -> queue.getTopic().equals(topic)));
        assertTrue(admin.queryTopicConsumeByWho(topic).getGroupList().contains(group));
        assertTrue(admin.queryTopicsByConsumer(group).getTopicList().contains(topic));
        List<QueueTimeSpan> spans = admin.queryConsumeTimeSpan(topic, group);
        assertEquals(QUEUES, spans.size());
        spans.forEach(span -> {
            assertTrue(span.getMinTimeStamp() > 0 && span.getMinTimeStamp() <= span.getMaxTimeStamp());
            assertEquals(span.getMaxTimeStamp(), span.getConsumeTimeStamp());
        });
        ConsumerConnection connections = admin.examineConsumerConnectionInfo(group);
        assertTrue(connections.getSubscriptionTable().containsKey(topic));
        Connection connection = connections.getConnectionSet().iterator().next();
        assertEquals(consumer.buildMQClientId(), connection.getClientId());
        assertEquals("*", admin.querySubscription(group, topic).getSubString());
        ConsumerRunningInfo info = admin.getConsumerRunningInfo(group, connection.getClientId(), false);
        assertTrue(info.getMqTable().keySet().stream().anyMatch(queue -> queue.getTopic().equals(topic)));
        Map<String, Map<MessageQueue, Long>> status = admin.getConsumeStatus(topic, group, "");
        assertEquals(Set.of(connection.getClientId()), status.keySet());
        assertEquals(QUEUES, status.get(connection.getClientId()).size());
        String producer = clients.producer().getProducerGroup();
        clients.producer().send(Messages.of(topic, "again"));
        Await.until("the producer's heartbeat", () -> admin.getAllProducerInfo(broker).getData().containsKey(producer),
            isThere -> isThere);
        assertEquals(1, admin.examineProducerConnectionInfo(producer, topic).getConnectionSet().size());
        MQBrokerException nobody = assertThrows(MQBrokerException.class,
            () -> admin.examineConsumerConnectionInfo(Clients.name("nobody"), broker));
        assertEquals(ResponseCode.CONSUMER_NOT_ONLINE, nobody.getResponseCode());
    }

    @Test
    void aResetReachesConsumersThatAreOnline() throws Exception {
        String topic = filled(4);
        String group = Clients.name("reset");
        Inbox inbox = new Inbox();
        clients.consume(group, topic, "*", inbox);
        inbox.awaitCount(4 * QUEUES);
        Await.until("everything is committed", () -> lag(group, topic), lag -> lag == 0);
        Map<MessageQueue, Long> offsets = admin.resetOffsetByTimestamp(topic, group, 0, true);
        assertEquals(Set.of(0L), Set.copyOf(offsets.values()));
        assertEquals(QUEUES, offsets.size());
        inbox.awaitCount(8 * QUEUES);
        assertEquals(4 * QUEUES, Set.copyOf(inbox.bodies()).size());
        Await.until("everything is committed again", () -> lag(group, topic), lag -> lag == 0);
    }

    @Test
    void aResetOfAGroupThatIsOfflineIsFoundWhenItComesBack() throws Exception {
        String topic = filled(4);
        String group = Clients.name("offline");
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = clients.consume(group, topic, "*", inbox);
        inbox.awaitCount(4 * QUEUES);
        consumer.shutdown();
        Await.until("everything is committed", () -> lag(group, topic), lag -> lag == 0);
        MessageQueue one = new MessageQueue(topic, admin.examineTopicStats(broker, topic).getOffsetTable().keySet()
            .iterator().next().getBrokerName(), 1);
        admin.resetOffsetByQueueId(broker, group, topic, 1, 2);
        assertEquals(2, admin.examineConsumeStats(group, topic).getOffsetTable().get(one).getConsumerOffset());
        Inbox again = new Inbox();
        clients.consume(group, topic, "*", again);
        again.awaitCount(2);
        assertEquals(List.of("q1n2", "q1n3"), again.bodies());
    }

    /** Each queue goes where its first message of that time or later is. */
    @Test
    void aResetToATimeBetweenReachesConsumersThatAreOnlineAndGroupsThatAreNot() throws Exception {
        String topic = filled(3);
        Await.until("visible", () -> clients.reader().readAll(topic, 3 * QUEUES).size(), size -> size == 3 * QUEUES);
        long betweenMs = System.currentTimeMillis() + 50;
        Await.until("that time", System::currentTimeMillis, nowMs -> nowMs > betweenMs + 50);
        for (MessageQueue queue : clients.producer().fetchPublishMessageQueues(topic)) {
            clients.producer().send(Messages.of(topic, "late" + queue.getQueueId()), queue);
            clients.producer().send(Messages.of(topic, "later" + queue.getQueueId()), queue);
        }
        String online = Clients.name("online");
        String stopped = Clients.name("stopped");
        Inbox inbox = new Inbox();
        clients.consume(online, topic, "*", inbox);
        inbox.awaitCount(5 * QUEUES);
        Inbox other = new Inbox();
        DefaultMQPushConsumer leaving = clients.consume(stopped, topic, "*", other);
        other.awaitCount(5 * QUEUES);
        leaving.shutdown();
        for (String group : List.of(online, stopped)) {
            Await.until("everything is committed", () -> lag(group, topic), lag -> lag == 0);
        }
        Map<MessageQueue, Long> offsets = admin.resetOffsetByTimestamp(topic, online, betweenMs, true);
        assertEquals(Set.of(3L), Set.copyOf(offsets.values()));
        List<String> again = List.of("late0", "late1", "late2", "later0", "later1", "later2");
        Await.until("those of that time again", () -> inbox.bodies().size(), size -> size == 7 * QUEUES);
        again.forEach(text -> assertEquals(2, inbox.bodies().stream().filter(text::equals).count(), text));

        offsets = resetStopped(stopped, topic, betweenMs);
        assertEquals(Set.of(3L), Set.copyOf(offsets.values()));
        Inbox back = new Inbox();
        clients.consume(stopped, topic, "*", back);
        back.awaitCount(2 * QUEUES);
        assertEquals(again, back.bodies());
    }

    /** mqadmin asks the broker for it when the group has nobody to tell. */
    private Map<MessageQueue, Long> resetStopped(String group, String topic, long timeMs) throws Exception {
        Map<MessageQueue, Long> offsets = new HashMap<>();
        admin.resetOffsetByTimestampOld(group, topic, timeMs, true)
            .forEach(rollback -> offsets.put(new MessageQueue(topic, rollback.getBrokerName(), (int) rollback.getQueueId()), rollback.getTimestampOffset()));
        return offsets;
    }

    @Test
    void offsetsAreCloned() throws Exception {
        String topic = filled(3);
        String group = Clients.name("source");
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = clients.consume(group, topic, "*", inbox);
        inbox.awaitCount(3 * QUEUES);
        consumer.shutdown();
        Await.until("everything is committed", () -> lag(group, topic), lag -> lag == 0);
        String target = Clients.name("target");
        admin.createAndUpdateSubscriptionGroupConfig(broker, config(target));
        admin.cloneGroupOffset(group, target, topic, true);
        List<Long> offsets = admin.examineConsumeStats(broker, target, topic, 10_000).getOffsetTable().values().stream()
            .map(offset -> offset.getConsumerOffset()).collect(Collectors.toList());
        assertEquals(List.of(3L, 3L, 3L), offsets);
        admin.deleteSubscriptionGroup(broker, target, true);
        admin.createAndUpdateSubscriptionGroupConfig(broker, config(target));
        offsets = admin.examineConsumeStats(broker, target, topic, 10_000).getOffsetTable().values().stream()
            .map(offset -> offset.getConsumerOffset()).collect(Collectors.toList());
        assertEquals(List.of(0L, 0L, 0L), offsets, "they went with the group");
    }
}
