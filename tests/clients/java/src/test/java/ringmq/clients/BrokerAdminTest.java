package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.alibaba.fastjson.JSON;
import com.alibaba.fastjson.JSONObject;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;
import org.apache.rocketmq.remoting.protocol.body.BrokerStatsData;
import org.apache.rocketmq.remoting.protocol.body.ConsumeStatsList;
import org.apache.rocketmq.remoting.protocol.body.KVTable;
import org.apache.rocketmq.remoting.protocol.body.QueryConsumeQueueResponseBody;
import org.apache.rocketmq.remoting.protocol.subscription.GroupForbidden;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** What mqadmin's library and the dashboard ask a broker about itself, and change in it. */
@Tag("main")
class BrokerAdminTest {
    private static final int QUEUES = 5;
    private static final int MESSAGES = 4;

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

    private String filled() throws Exception {
        String topic = Clients.name("counted");
        admin.createAndUpdateTopicConfig(broker, new TopicConfig(topic, QUEUES, QUEUES));
        clients.reader().awaitQueues(topic, QUEUES);
        for (MessageQueue queue : clients.producer().fetchPublishMessageQueues(topic)) {
            for (int number = 0; number < MESSAGES; number++) {
                clients.producer().send(Messages.of(topic, "text"), queue);
            }
        }
        return topic;
    }

    private String group() throws Exception {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(Clients.name("group"));
        admin.createAndUpdateSubscriptionGroupConfig(broker, config);
        return config.getGroupName();
    }

    /** As ClusterListSubCommand and ExportMetricsCommand take it apart. */
    @Test
    void theRuntimeTableIsWhatToolsTakeApart() throws Exception {
        filled();
        KVTable found = admin.fetchBrokerRuntimeStats(broker);
        Map<String, String> table = found.getTable();
        assertTrue(Boolean.parseBoolean(table.get("brokerActive")));
        assertEquals("V5_3_3", table.get("brokerVersionDesc"));
        for (String key : List.of("putTps", "getTransferredTps", "getFoundTps", "getMissTps", "getTotalTps")) {
            Double.parseDouble(table.get(key).split(" ")[0]);
        }
        for (String key : List.of("timerReadBehind", "timerOffsetBehind", "timerCongestNum", "earliestMessageTimeStamp",
                "msgPutTotalTodayNow", "msgGetTotalTodayNow", "msgPutTotalTodayMorning", "msgGetTotalTodayMorning",
                "msgPutTotalYesterdayMorning", "msgGetTotalYesterdayMorning", "bootTimestamp", "putMessageTimesTotal",
                "putMessageSizeTotal", "commitLogMinOffset", "commitLogMaxOffset", "sendThreadPoolQueueSize",
                "pullThreadPoolQueueSize", "ackThreadPoolQueueSize", "sendThreadPoolQueueHeadWaitTimeMills",
                "pullThreadPoolQueueHeadWaitTimeMills", "ackThreadPoolQueueHeadWaitTimeMills", "pageCacheLockTimeMills",
                "dispatchBehindBytes", "startAcceptSendRequestTimeStamp", "EndTransactionQueueSize")) {
            Long.parseLong(table.get(key));
        }
        Float.parseFloat(table.get("timerEnqueueTps"));
        Float.parseFloat(table.get("timerDequeueTps"));
        assertTrue(Double.parseDouble(table.get("putMessageAverageSize")) > 0);
        String text = Await.until("the disk was looked at",
            () -> admin.fetchBrokerRuntimeStats(broker).getTable().get("commitLogDiskRatio"), it -> it != null);
        double ratio = Double.parseDouble(text);
        assertTrue(ratio >= 0 && ratio <= 1);
    }

    @Test
    void theConfigurationIsShownAndChanged() throws Exception {
        Properties before = admin.getBrokerConfig(broker);
        assertEquals("0", before.getProperty("brokerId"));
        assertTrue(before.getProperty("brokerName").length() > 0);
        assertTrue(before.getProperty("flushDiskType").endsWith("_FLUSH"));
        String size = before.getProperty("maxMessageSize");
        Properties change = new Properties();
        change.setProperty("maxMessageSize", String.valueOf(Integer.parseInt(size) - 1));
        admin.updateBrokerConfig(broker, change);
        assertEquals(change.getProperty("maxMessageSize"), admin.getBrokerConfig(broker).getProperty("maxMessageSize"));
        change.setProperty("maxMessageSize", size);
        admin.updateBrokerConfig(broker, change);
        assertEquals(size, admin.getBrokerConfig(broker).getProperty("maxMessageSize"));
        Properties forbidden = new Properties();
        forbidden.setProperty("brokerConfigPath", "/x");
        MQBrokerException refused =
            assertThrows(MQBrokerException.class, () -> admin.updateBrokerConfig(broker, forbidden));
        assertEquals(ResponseCode.NO_PERMISSION, refused.getResponseCode());
    }

    @Test
    void allGroupsAreTold() throws Exception {
        String topic = filled();
        String group = group();
        for (MessageQueue queue : clients.producer().fetchPublishMessageQueues(topic)) {
            admin.updateConsumeOffset(broker, group, queue, 3);
        }
        ConsumeStatsList all = admin.fetchConsumeStatsInBroker(broker, false, 10_000);
        assertEquals(broker, all.getBrokerAddr());
        List<List<ConsumeStats>> found = all.getConsumeStatsList().stream().filter(it -> it.containsKey(group))
            .map(it -> it.get(group)).collect(Collectors.toList());
        assertEquals(1, found.size());
        assertEquals(1, found.get(0).size());
        assertEquals(QUEUES, found.get(0).get(0).computeTotalDiff());
        assertEquals(QUEUES, found.get(0).get(0).getOffsetTable().size());
        found.get(0).get(0).getOffsetTable().values().forEach(offset -> {
            assertEquals(MESSAGES, offset.getBrokerOffset());
            assertEquals(3, offset.getConsumerOffset());
            assertTrue(offset.getLastTimestamp() > 0);
        });
        assertTrue(all.getTotalDiff() >= QUEUES);
        // What it is asked to clean, or has nothing of, it says that it did.
        assertTrue(admin.cleanExpiredConsumerQueueByAddr(broker));
        assertTrue(admin.cleanUnusedTopicByAddr(broker));
        assertTrue(admin.deleteExpiredCommitLogByAddr(broker));
    }

    @Test
    void entriesAreShownWithTheFilterOfTheirGroup() throws Exception {
        String topic = filled();
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group());
        consumer.setNamesrvAddr(System.getProperty("namesrv"));
        consumer.setInstanceName(Clients.name("filter"));
        consumer.subscribe(topic, MessageSelector.bySql("a > 1 OR b = 'x\ty'"));
        consumer.registerMessageListener(
            (MessageListenerConcurrently) (messages, context) -> ConsumeConcurrentlyStatus.CONSUME_SUCCESS);
        consumer.start();
        try {
            String group = consumer.getConsumerGroup();
            QueryConsumeQueueResponseBody found = Await.until("the broker knows the group",
                () -> admin.queryConsumeQueue(broker, topic, 0, 0, 10, group),
                it -> it.getSubscriptionData() != null);
            assertEquals(MESSAGES, found.getQueueData().size());
            JSONObject filter = JSON.parseObject(found.getFilterData());
            assertEquals("a > 1 OR b = 'x\ty'", filter.getString("expression"));
            assertEquals("SQL92", filter.getString("expressionType"));
            assertEquals(topic, filter.getString("topic"));
            assertEquals(group, filter.getString("consumerGroup"));
            assertEquals(0, filter.getLongValue("deadTime"));
            assertEquals(Boolean.FALSE, filter.getBoolean("dead"));
            assertEquals(found.getSubscriptionData().getSubVersion(), filter.getLongValue("clientVersion"));
            assertTrue(found.getFilterData().startsWith("{\n\t\""), found.getFilterData());
            String nobody = admin.queryConsumeQueue(broker, topic, 0, 0, 10, "nobody").getFilterData();
            assertEquals("nobody@" + topic + " is not online!", nobody);
        } finally {
            consumer.shutdown();
        }
    }

    @Test
    void whatIsCountedIsTold() throws Exception {
        String topic = filled();
        Await.until("all sends are counted", () -> {
            BrokerStatsData data = admin.viewBrokerStatsData(broker, "TOPIC_PUT_NUMS", topic);
            return data.getStatsMinute().getSum();
        }, sum -> sum == QUEUES * MESSAGES);
        assertThrows(MQClientException.class,
            () -> admin.viewBrokerStatsData(broker, "TOPIC_PUT_NUMS", Clients.name("nothing")));
    }

    @Test
    void aGroupThatMayNotReadATopicIsRefused() throws Exception {
        String topic = filled();
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(group());
        consumer.setNamesrvAddr(System.getProperty("namesrv"));
        consumer.setInstanceName(Clients.name("forbidden"));
        consumer.setRegisterTopics(Set.of(topic));
        consumer.start();
        try {
            MessageQueue queue = consumer.fetchSubscribeMessageQueues(topic).iterator().next();
            String group = consumer.getConsumerGroup();
            GroupForbidden found = admin.updateAndGetGroupReadForbidden(broker, group, topic, null);
            assertTrue(found.getReadable());
            found = admin.updateAndGetGroupReadForbidden(broker, group, topic, false);
            assertFalse(found.getReadable());
            assertEquals(topic, found.getTopic());
            assertEquals(group, found.getGroup());
            assertFalse(admin.updateAndGetGroupReadForbidden(broker, group, topic, null).getReadable());
            // It brings a subscription of its own.
            PullResult pulled = consumer.pull(queue, "*", 0, 32);
            assertEquals(PullStatus.FOUND, pulled.getPullStatus());
            assertTrue(admin.updateAndGetGroupReadForbidden(broker, group, topic, true).getReadable());
        } finally {
            consumer.shutdown();
        }
    }
}
