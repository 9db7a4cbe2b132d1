package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.api.parallel.Isolated;
import ringmq.clients.PendingOverKill.Feature;

/**
 * What tools did to topics, groups and offsets is still so when the server was killed (kill -9) a moment later. Apache loses what
 * became of offsets in the last 5 s, and finds the queues of a deleted topic again.
 */
@Tag("main")
@Isolated
@EnabledIfSystemProperty(named = "server", matches = ".+", disabledReason = "not a server that a test may end")
class KilledServerAdminTest {
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

    @TestFactory
    Stream<DynamicTest> whatToolsDidStays() throws Exception {
        PendingOverKill features = new PendingOverKill()
            .with("a topic's configuration", new ConfiguredTopic())
            .with("a group's configuration, and a deleted group", new ConfiguredGroup());
        if (!Server.IS_APACHE) {
            features.with("a deleted topic stays deleted, and made again is empty", new DeletedTopic())
                .with("offsets that were reset by time", new ResetOffsets())
                .with("offsets that were cloned", new ClonedOffsets());
        }
        return features.run();
    }

    private final class DeletedTopic implements Feature {
        private String topic;

        @Override
        public void before() throws Exception {
            topic = filled("old");
            admin.deleteTopicInBroker(Set.of(broker), topic);
            admin.deleteTopicInNameServer(Set.of(System.getProperty("namesrv").split(";")), topic);
        }

        @Override
        public void after() throws Exception {
            assertFalse(admin.getAllTopicConfig(broker, 15_000).getTopicConfigTable().containsKey(topic));
            admin.createAndUpdateTopicConfig(broker, new TopicConfig(topic, QUEUES, QUEUES));
            assertTrue(admin.examineTopicStats(broker, topic).getOffsetTable().values().stream().allMatch(it -> it.getMaxOffset() == 0));
            fill(topic, "new");
            assertEquals(Set.of("new"), clients.reader().readAll(topic, 4 * QUEUES).stream()
                .map(it -> Messages.text(it).substring(0, 3)).collect(Collectors.toSet()));
        }
    }

    private final class ConfiguredTopic implements Feature {
        private final String topic = Clients.name("config");

        @Override
        public void before() throws Exception {
            TopicConfig config = new TopicConfig(topic, 3, 3);
            config.setAttributes(Map.of("+message.type", "FIFO"));
            config.setOrder(true);
            admin.createAndUpdateTopicConfig(broker, config);
            TopicConfig changed = new TopicConfig(topic, 7, 5);
            changed.setPerm(4);
            admin.createAndUpdateTopicConfig(broker, changed);
        }

        @Override
        public void after() throws Exception {
            TopicConfig found = admin.examineTopicConfig(broker, topic);
            assertEquals(List.of(7, 5, 4), List.of(found.getReadQueueNums(), found.getWriteQueueNums(), found.getPerm()));
            assertEquals(Map.of("message.type", "FIFO"), found.getAttributes());
        }
    }

    private final class ConfiguredGroup implements Feature {
        private final SubscriptionGroupConfig config = config(Clients.name("kept"));
        private final String deleted = Clients.name("deleted");

        @Override
        public void before() throws Exception {
            config.setRetryMaxTimes(3);
            config.setRetryQueueNums(2);
            config.setConsumeBroadcastEnable(false);
            config.setConsumeFromMinEnable(false);
            config.setWhichBrokerWhenConsumeSlowly(2);
            admin.createAndUpdateSubscriptionGroupConfig(broker, config);
            admin.createAndUpdateSubscriptionGroupConfig(broker, config(deleted));
            admin.deleteSubscriptionGroup(broker, deleted, true);
        }

        @Override
        public void after() throws Exception {
            Map<String, SubscriptionGroupConfig> all = admin.getAllSubscriptionGroup(broker, 15_000).getSubscriptionGroupTable();
            assertEquals(config, all.get(config.getGroupName()));
            assertFalse(all.containsKey(deleted));
        }
    }

    private final class ResetOffsets implements Feature {
        private final String group = Clients.name("reset");
        private String topic;

        @Override
        public void before() throws Exception {
            topic = filled("m");
            consumed(group, topic);
            admin.resetOffsetByTimestampOld(group, topic, 0, true);
            admin.resetOffsetByQueueId(broker, group, topic, 1, 2);
        }

        @Override
        public void after() throws Exception {
            assertEquals(Map.of(0, 0L, 1, 2L, 2, 0L), offsets(group, topic));
            Inbox inbox = new Inbox();
            clients.consume(group, topic, "*", inbox);
            inbox.awaitCount(4 * QUEUES - 2);
            assertEquals(4 * QUEUES - 2, inbox.bodies().size());
        }
    }

    private final class ClonedOffsets implements Feature {
        private final String target = Clients.name("target");
        private String topic;

        @Override
        public void before() throws Exception {
            topic = filled("m");
            String source = Clients.name("source");
            consumed(source, topic);
            admin.createAndUpdateSubscriptionGroupConfig(broker, config(target));
            admin.cloneGroupOffset(source, target, topic, true);
        }

        @Override
        public void after() throws Exception {
            assertEquals(Map.of(0, 4L, 1, 4L, 2, 4L), offsets(target, topic));
        }
    }

    private static SubscriptionGroupConfig config(String group) {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        return config;
    }

    private String filled(String text) throws Exception {
        String topic = clients.topic(QUEUES);
        fill(topic, text);
        return topic;
    }

    private void fill(String topic, String text) throws Exception {
        for (MessageQueue queue : clients.reader().awaitQueues(topic, QUEUES)) {
            for (int number = 0; number < 4; number++) {
                assertEquals(number, clients.producer().send(Messages.of(topic, text + number), queue).getQueueOffset());
            }
        }
    }

    /** A group that is done with the topic, and has no members. */
    private void consumed(String group, String topic) throws Exception {
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = clients.consume(group, topic, "*", inbox);
        inbox.awaitCount(4 * QUEUES);
        consumer.shutdown();
        clients.reader().awaitCommitted(group, topic, 4 * QUEUES);
    }

    private Map<Integer, Long> offsets(String group, String topic) throws Exception {
        return admin.examineConsumeStats(group, topic).getOffsetTable().entrySet().stream()
            .collect(Collectors.toMap(it -> it.getKey().getQueueId(), it -> it.getValue().getConsumerOffset()));
    }
}
