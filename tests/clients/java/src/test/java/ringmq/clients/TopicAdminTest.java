package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.admin.TopicStatsTable;
import org.apache.rocketmq.remoting.protocol.body.TopicConfigSerializeWrapper;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** The life of a topic through mqadmin's library. */
@Tag("main")
class TopicAdminTest {
    @RegisterExtension
    final Clients clients = new Clients();

    private DefaultMQAdminExt admin;
    private String broker;

    @BeforeEach
    void start() throws Exception {
        admin = started();
        broker = brokerOf(admin);
    }

    @AfterEach
    void stop() {
        admin.shutdown();
    }

    static DefaultMQAdminExt started() throws Exception {
        DefaultMQAdminExt admin = new DefaultMQAdminExt(Clients.name("admin"), 15_000);
        ClientConfig config = admin;
        config.setNamesrvAddr(System.getProperty("namesrv"));
        config.setInstanceName(Clients.name("admin"));
        config.setVipChannelEnabled(false);
        admin.start();
        return admin;
    }

    static String brokerOf(DefaultMQAdminExt admin) throws Exception {
        return admin.examineBrokerClusterInfo().getBrokerAddrTable().values().iterator().next().selectBrokerAddr();
    }

    private static TopicConfig config(String topic, int queues) {
        TopicConfig config = new TopicConfig(topic, queues, queues);
        config.setPerm(6);
        return config;
    }

    private void fill(String topic, String text, int queues) throws Exception {
        clients.reader().awaitQueues(topic, queues);
        for (int number = 0; number < 3; number++) {
            for (int queue = 0; queue < queues; queue++) {
                MessageQueue target = clients.producer().fetchPublishMessageQueues(topic).get(queue);
                SendResult sent = clients.producer().send(Messages.of(topic, text + queue + number), target);
                assertEquals(number, sent.getQueueOffset());
            }
        }
    }

    @Test
    void aDeletedTopicIsGoneAndMadeAgainIsEmpty() throws Exception {
        String topic = Clients.name("life");
        admin.createAndUpdateTopicConfig(broker, config(topic, 5));
        fill(topic, "old", 5);
        TopicStatsTable stats = admin.examineTopicStats(broker, topic);
        assertEquals(5, stats.getOffsetTable().size());
        stats.getOffsetTable().values().forEach(offset -> {
            assertEquals(0, offset.getMinOffset());
            assertEquals(3, offset.getMaxOffset());
            assertTrue(offset.getLastUpdateTimestamp() > 0);
        });
        admin.deleteTopicInBroker(Set.of(broker), topic);
        admin.deleteTopicInNameServer(Set.of(System.getProperty("namesrv").split(";")), topic);
        MQBrokerException gone = assertThrows(MQBrokerException.class, () -> admin.examineTopicStats(broker, topic));
        assertEquals(ResponseCode.TOPIC_NOT_EXIST, gone.getResponseCode());
        assertThrows(MQClientException.class, () -> admin.examineTopicRouteInfo(topic));
        // As often as one likes.
        admin.deleteTopicInBroker(Set.of(broker), topic);
        admin.createAndUpdateTopicConfig(broker, config(topic, 5));
        stats = admin.examineTopicStats(broker, topic);
        assertTrue(stats.getOffsetTable().values().stream().allMatch(offset -> offset.getMaxOffset() == 0));
        fill(topic, "new", 5);
        assertTrue(clients.reader().readAll(topic, 15).stream().allMatch(it -> Messages.text(it).startsWith("new")));
    }

    @Test
    void configurationsAreShownAsTheyWereSet() throws Exception {
        String topic = Clients.name("config");
        TopicConfig config = config(topic, 3);
        config.setAttributes(Map.of("+message.type", "FIFO"));
        config.setOrder(true);
        admin.createAndUpdateTopicConfig(broker, config);
        TopicConfig found = admin.examineTopicConfig(broker, topic);
        assertEquals(Map.of("message.type", "FIFO"), found.getAttributes());
        assertTrue(found.isOrder());
        assertEquals(3, found.getReadQueueNums());
        TopicConfigSerializeWrapper all = admin.getAllTopicConfig(broker, 10_000);
        assertTrue(all.getTopicConfigTable().containsKey(topic));
        // Queues grow and shrink, permissions change.
        TopicConfig changed = new TopicConfig(topic, 7, 5);
        changed.setPerm(4);
        admin.createAndUpdateTopicConfig(broker, changed);
        found = admin.examineTopicConfig(broker, topic);
        assertEquals(List.of(7, 5, 4), List.of(found.getReadQueueNums(), found.getWriteQueueNums(), found.getPerm()));
        assertEquals(Map.of("message.type", "FIFO"), found.getAttributes());
        assertEquals(7, admin.examineTopicStats(broker, topic).getOffsetTable().size());
        admin.deleteTopicInBroker(Set.of(broker), topic);
        MQBrokerException gone = assertThrows(MQBrokerException.class, () -> admin.examineTopicConfig(broker, topic));
        assertEquals(ResponseCode.TOPIC_NOT_EXIST, gone.getResponseCode());
    }

    /** As mqadmin's exportMetadata and exportMetrics ask for them: none that the broker has of itself. */
    @Test
    void userTopicsAreThoseThatUsersMade() throws Exception {
        String topic = Clients.name("user");
        admin.createAndUpdateTopicConfig(broker, config(topic, 2));
        Set<String> found = admin.getUserTopicConfig(broker, false, 10_000).getTopicConfigTable().keySet();
        assertTrue(found.contains(topic), found.toString());
        for (String own : List.of("SELF_TEST_TOPIC", "TBW102", "OFFSET_MOVED_EVENT", "DefaultCluster")) {
            assertFalse(found.contains(own), found.toString());
        }
    }

    @Test
    void severalTopicsAreMadeAtOnce() throws Exception {
        List<String> topics = List.of(Clients.name("list"), Clients.name("list"));
        admin.createAndUpdateTopicConfigList(broker, List.of(config(topics.get(0), 2), config(topics.get(1), 3)));
        assertEquals(2, admin.examineTopicStats(broker, topics.get(0)).getOffsetTable().size());
        assertEquals(3, admin.examineTopicStats(broker, topics.get(1)).getOffsetTable().size());
    }

    @Test
    void mistakesAreRefused() throws Exception {
        for (String name : List.of("TBW102", "SCHEDULE_TOPIC_XXXX", "rmq_sys_any", "DefaultCluster_REPLY_TOPIC")) {
            MQClientException refused =
                assertThrows(MQClientException.class, () -> admin.deleteTopicInBroker(Set.of(broker), name));
            assertEquals(ResponseCode.INVALID_PARAMETER, refused.getResponseCode());
            assertTrue(refused.getErrorMessage().contains("is conflict with system topic."));
        }
        String topic = Clients.name("refused");
        for (Map.Entry<String, String> attribute : Map.of(
            "+colour", "unsupported key: colour",
            "-message.type", "only add attribute is supported while creating topic. key: message.type").entrySet()) {
            TopicConfig config = config(topic, 1);
            config.setAttributes(Map.of(attribute.getKey(), attribute.getKey().startsWith("+") ? "x" : ""));
            MQClientException refused =
                assertThrows(MQClientException.class, () -> admin.createAndUpdateTopicConfig(broker, config));
            assertEquals(ResponseCode.SYSTEM_ERROR, refused.getResponseCode());
            assertTrue(refused.getErrorMessage().contains(attribute.getValue()), refused.getErrorMessage());
        }
        assertFalse(admin.getAllTopicConfig(broker, 10_000).getTopicConfigTable().containsKey(topic));
    }
}
