package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** SQL92 on the server: {@code enablePropertyFilter=true} with Apache's. */
@Tag("main")
class Sql92FilterTest {
    private static final int SUBSCRIPTION_PARSE_FAILED = 23;

    @RegisterExtension
    final Clients clients = new Clients();

    /** What {@link Sql92TableTest} asks Apache's parser, asked of the server under test. */
    @Test
    void everyRowOfTheTableIsServedAsItSays() throws Exception {
        List<String[]> rows = new ArrayList<>();
        for (String line : Files.readAllLines(Sql92TableTest.TABLE)) {
            String[] columns = line.split("\t", -1);
            boolean isRefused = columns[columns.length - 1].equals("refused");
            // The client itself gives each message a UNIQ_KEY.
            if (columns.length >= 3 && !isRefused && !columns[0].contains("UNIQ_KEY")) {
                rows.add(columns);
            }
        }
        String topic = clients.topic(1);
        for (String[] row : rows) {
            Message message = Messages.of(topic, row[0]);
            for (String pair : row[1].split(";")) {
                int middle = pair.indexOf('=');
                if (middle > 0) {
                    String value = pair.substring(middle + 1).replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r");
                    MessageAccessor.putProperty(message, pair.substring(0, middle), value);
                }
            }
            clients.producer().send(message);
        }
        MessageQueue queue = clients.reader().queues(topic).get(0);
        clients.reader().awaitMaxOffset(queue, rows.size());
        DefaultMQPullConsumer consumer = consumerThatKnowsItsBroker(queue);
        List<String> wrong = new ArrayList<>();
        for (int i = 0; i < rows.size(); i++) {
            String[] row = rows.get(i);
            String expression = row[0].replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r");
            PullResult result = consumer.pull(queue, MessageSelector.bySql(expression), i, 1);
            boolean isFound = result.getPullStatus() == PullStatus.FOUND && result.getMsgFoundList().get(0).getQueueOffset() == i;
            if (isFound != row[2].equals("true")) {
                wrong.add(String.join(" | ", row) + ": " + result);
            }
        }
        assertEquals(List.of(), wrong);
    }

    @Test
    void pushConsumerGetsOnlyWhatItsExpressionTakes() throws Exception {
        String topic = clients.topic(4);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = subscriber(Clients.name("group"), topic, inbox,
            "(price BETWEEN 100 AND 299 AND color IN ('red', 'blue')) OR color IS NULL");
        List<String> expected = new ArrayList<>();
        for (int i = 0; i < 400; i++) {
            Message message = Messages.of(topic, String.format("item-%05d", i));
            message.putUserProperty("price", String.valueOf(i));
            if (i % 50 != 0) {
                message.putUserProperty("color", i % 3 == 0 ? "red" : i % 3 == 1 ? "green" : "blue");
            }
            if (i % 50 == 0 || 100 <= i && i <= 299 && i % 3 != 1) {
                expected.add(Messages.text(message));
            }
            clients.producer().send(message);
        }
        inbox.awaitCount(expected.size());
        clients.reader().awaitCommitted(consumer.getConsumerGroup(), topic, 400);
        consumer.shutdown();
        assertEquals(expected, inbox.bodies());
    }

    @Test
    void litePullConsumerGetsOnlyWhatItsExpressionTakes() throws Exception {
        String topic = clients.topic(2);
        for (int i = 0; i < 100; i++) {
            Message message = Messages.tagged(topic, i % 2 == 0 ? "even" : "odd", String.format("lite-%05d", i));
            message.putUserProperty("n", String.valueOf(i));
            clients.producer().send(message);
        }
        DefaultLitePullConsumer consumer = clients.newLitePullConsumer(Clients.name("group"));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, MessageSelector.bySql("n >= 90 AND TAGS = 'even'"));
        consumer.start();
        List<MessageExt> polled = new ArrayList<>();
        Await.until("five messages", () -> {
            polled.addAll(consumer.poll(500));
            return polled.size();
        }, size -> size >= 5);
        TreeSet<String> texts = new TreeSet<>();
        polled.forEach(message -> texts.add(Messages.text(message)));
        assertEquals(List.of("lite-00090", "lite-00092", "lite-00094", "lite-00096", "lite-00098"), List.copyOf(texts));
        assertEquals(5, polled.size());
    }

    @Test
    void pullThatFindsNothingGoesOnBehindWhatItLookedAt() throws Exception {
        String topic = clients.topic(1);
        clients.send(topic, Messages.numbered("none", 20));
        MessageQueue queue = clients.reader().queues(topic).get(0);
        clients.reader().awaitMaxOffset(queue, 20);
        DefaultMQPullConsumer consumer = consumerThatKnowsItsBroker(queue);
        PullResult result = consumer.pull(queue, MessageSelector.bySql("missing = 1"), 0, 32);
        assertEquals(PullStatus.NO_MATCHED_MSG, result.getPullStatus());
        assertEquals(20, result.getNextBeginOffset());
    }

    @Test
    void newerExpressionOfARunningGroupCounts() throws Exception {
        String topic = clients.topic(1);
        String group = Clients.name("group");
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = subscriber(group, topic, inbox, "n = 1");
        send(topic, 1, 2);
        inbox.awaitCount(1);
        clients.reader().awaitCommitted(group, topic, 2);
        consumer.subscribe(topic, MessageSelector.bySql("n = 2"));
        // From its next heartbeat on; what was pulled before came through the old one.
        Await.until("a message by the new expression", () -> {
            send(topic, 2);
            return inbox.bodies();
        }, bodies -> bodies.contains("n=2"));
        consumer.shutdown();
    }

    @Test
    void badExpressionIsRefusedAtTheStart() throws Exception {
        String topic = clients.topic(1);
        for (String expression : List.of("n >", "n = 'open", "n BETWEEN 2 AND 1", "n > 'x'", "n != 1", "")) {
            DefaultMQPushConsumer consumer = clients.newPushConsumer(Clients.name("group"));
            consumer.subscribe(topic, MessageSelector.bySql(expression.isEmpty() ? " " : expression));
            consumer.registerMessageListener(new Inbox());
            MQClientException refused = assertThrows(MQClientException.class, consumer::start, expression);
            assertEquals(SUBSCRIPTION_PARSE_FAILED, refused.getResponseCode(), expression + ": " + refused);
        }
    }

    /** The retry topic is not filtered. */
    @Test
    @Tag("slow")
    void failedMessageComesBackThroughTheExpression() throws Exception {
        String topic = clients.topic(1);
        Queue<Integer> attempts = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer consumer = subscriber(Clients.name("group"), topic, (messages, context) -> {
            messages.forEach(message -> attempts.add(message.getReconsumeTimes()));
            boolean first = messages.get(0).getReconsumeTimes() == 0;
            return first ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        }, "n = 1");
        send(topic, 1, 2);
        Await.until("two attempts", () -> List.copyOf(attempts), seen -> seen.size() >= 2);
        consumer.shutdown();
        assertEquals(List.of(0, 1), List.copyOf(attempts));
    }

    private void send(String topic, int... numbers) throws Exception {
        for (int number : numbers) {
            Message message = Messages.of(topic, "n=" + number);
            message.putUserProperty("n", String.valueOf(number));
            clients.producer().send(message);
        }
    }

    private DefaultMQPushConsumer subscriber(String group, String topic, MessageListenerConcurrently listener, String expression)
        throws MQClientException {
        DefaultMQPushConsumer consumer = clients.newPushConsumer(group);
        consumer.subscribe(topic, MessageSelector.bySql(expression));
        consumer.registerMessageListener(listener);
        consumer.start();
        return consumer;
    }

    /** A client asks for SQL92 only where it knows by a heartbeat that the broker is new enough. */
    private DefaultMQPullConsumer consumerThatKnowsItsBroker(MessageQueue queue) throws Exception {
        DefaultMQPullConsumer consumer = clients.pullConsumer(Clients.name("group"));
        consumer.fetchSubscribeMessageQueues(queue.getTopic());
        Await.until("a pull by SQL92", () -> {
            try {
                consumer.pull(queue, MessageSelector.bySql("TRUE"), 0, 1);
                return "";
            } catch (MQClientException tooEarly) {
                consumer.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory().sendHeartbeatToAllBrokerWithLock();
                return tooEarly.toString();
            }
        }, String::isEmpty);
        return consumer;
    }
}
