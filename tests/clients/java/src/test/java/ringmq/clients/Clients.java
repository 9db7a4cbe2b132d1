package ringmq.clients;

import java.util.Deque;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.ThreadLocalRandom;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.ExtensionContext;

/**
 * The clients of one test, all shut down after it, newest first. Every client is an instance of its own (a connection and a
 * client id of its own), as if it ran in a process of its own. A test may ask for clients from several threads.
 */
final class Clients implements AfterEachCallback {
    private final Deque<Runnable> shutdowns = new ConcurrentLinkedDeque<>();
    private DefaultMQProducer producer;
    private TopicReader reader;

    @Override
    public void afterEach(ExtensionContext context) {
        shutdowns.forEach(Runnable::run);
        shutdowns.clear();
    }

    /** The store under test has a history: no name is ever used twice. */
    static String name(String kind) {
        return kind + "_" + Long.toString(ThreadLocalRandom.current().nextLong(1L << 60), 36);
    }

    /** The producer of this test, with the client's defaults but for patience. */
    synchronized DefaultMQProducer producer() throws MQClientException {
        if (producer == null) {
            producer = newProducer();
            producer.start();
        }
        return producer;
    }

    /** One more producer, to be configured and started by the test. */
    DefaultMQProducer newProducer() {
        DefaultMQProducer another = own(new DefaultMQProducer(name("producer")));
        another.setSendMsgTimeout(15_000);
        shutdowns.push(another::shutdown);
        return another;
    }

    /** A producer of half messages, to be given a listener and started by the test. */
    TransactionMQProducer newTransactor(String group) {
        TransactionMQProducer another = own(new TransactionMQProducer(group));
        another.setSendMsgTimeout(15_000);
        shutdowns.push(another::shutdown);
        return another;
    }

    /** Tells of what it sends in a trace topic; null: RMQ_SYS_TRACE_TOPIC. */
    DefaultMQProducer newTracingProducer(String traceTopic) {
        DefaultMQProducer another = own(new DefaultMQProducer(name("producer"), true, traceTopic));
        another.setSendMsgTimeout(15_000);
        shutdowns.push(another::shutdown);
        return another;
    }

    TransactionMQProducer newTracingTransactor(String group) {
        TransactionMQProducer another = own(new TransactionMQProducer(null, group, null, true, null));
        another.setSendMsgTimeout(15_000);
        shutdowns.push(another::shutdown);
        return another;
    }

    DefaultMQPushConsumer newTracingConsumer(String group, String traceTopic) {
        return ownPush(new DefaultMQPushConsumer(group, true, traceTopic));
    }

    /** A pull consumer under a group of its own that reads whole topics. */
    synchronized TopicReader reader() throws MQClientException {
        if (reader == null) {
            reader = new TopicReader(pullConsumer(name("reader")));
        }
        return reader;
    }

    DefaultMQPullConsumer pullConsumer(String group) throws MQClientException {
        DefaultMQPullConsumer consumer = newPullConsumer(group);
        consumer.start();
        return consumer;
    }

    DefaultMQPullConsumer newPullConsumer(String group) {
        DefaultMQPullConsumer consumer = own(new DefaultMQPullConsumer(group));
        shutdowns.push(consumer::shutdown);
        return consumer;
    }

    DefaultLitePullConsumer newLitePullConsumer(String group) {
        DefaultLitePullConsumer consumer = own(new DefaultLitePullConsumer(group));
        shutdowns.push(consumer::shutdown);
        return consumer;
    }

    DefaultMQPushConsumer newPushConsumer(String group) {
        return ownPush(new DefaultMQPushConsumer(group));
    }

    /** A started push consumer from the first offset on. */
    DefaultMQPushConsumer consume(String group, String topic, String expression, MessageListenerConcurrently listener)
        throws MQClientException {
        DefaultMQPushConsumer consumer = newPushConsumer(group);
        consumer.subscribe(topic, expression);
        consumer.registerMessageListener(listener);
        consumer.start();
        return consumer;
    }

    /** A fresh topic, known to the name server when this returns. */
    String topic(int queueCount) throws Exception {
        String topic = name("topic");
        ClientVersion.createTopic(producer(), "TBW102", topic, queueCount);
        reader().awaitQueues(topic, queueCount);
        return topic;
    }

    /** One after the other, to the queues in turn. */
    void send(String topic, List<String> texts) throws Exception {
        for (String text : texts) {
            producer().send(Messages.of(topic, text));
        }
    }

    /** Ids of the queues of {@code topic} that rebalancing gave to this consumer. */
    static Set<Integer> assigned(DefaultMQPushConsumer consumer, String topic) {
        return consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().stream()
            .filter(queue -> queue.getTopic().equals(topic))
            .map(queue -> queue.getQueueId())
            .collect(Collectors.toSet());
    }

    /** Until the server takes it, such as one that was just started. */
    void sendPatiently(Message message) throws Exception {
        Await.until("the server takes messages", () -> {
            try {
                return producer().send(message).getSendStatus() == SendStatus.SEND_OK;
            } catch (Exception serverIsAway) {
                return false;
            }
        }, isTaken -> isTaken);
    }

    private DefaultMQPushConsumer ownPush(DefaultMQPushConsumer consumer) {
        own(consumer);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        // By default a shutdown does not wait for its listeners' threads: a message that a listener has returned from may then
        // miss the offset that is kept last, and is rightly delivered again.
        consumer.setAwaitTerminationMillisWhenShutdown(5_000);
        shutdowns.push(consumer::shutdown);
        return consumer;
    }

    private static <T extends ClientConfig> T own(T client) {
        client.setNamesrvAddr(System.getProperty("namesrv", "127.0.0.1:9876"));
        client.setInstanceName(name("instance"));
        return client;
    }
}
