package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.trace.TraceBean;
import org.apache.rocketmq.client.trace.TraceContext;
import org.apache.rocketmq.client.trace.TraceDataEncoder;
import org.apache.rocketmq.client.trace.TraceType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/**
 * What a client that traces tells of each message: to the server it is a message like any other, in a topic of its own,
 * that tools find by the traced message's id and keys.
 *
 * <p>One test at a time: clients of one process trace through one connection, which goes with the last of them, and whoever
 * starts at that moment traces nothing.
 */
@Tag("main")
class TraceTest {
    static final String TRACES = "RMQ_SYS_TRACE_TOPIC";

    @RegisterExtension
    final Clients clients = new Clients();

    @Test
    void sendAndConsumptionAreFoundByTheMessagesId() throws Exception {
        sendConsumeAndFind(null, TRACES);
    }

    @Test
    void aTraceTopicOfOnesOwnHasTheTraces() throws Exception {
        String traces = clients.topic(2);
        sendConsumeAndFind(traces, traces);
    }

    private void sendConsumeAndFind(String wanted, String traces) throws Exception {
        String topic = clients.topic(2);
        String group = Clients.name("traced");
        DefaultMQProducer producer = clients.newTracingProducer(wanted);
        producer.start();
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = clients.newTracingConsumer(group, wanted);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(inbox);
        consumer.start();
        String key = Clients.name("key");
        Message message = Messages.tagged(topic, "TagA", "traced");
        message.setKeys(key);
        SendResult sent = producer.send(message);
        inbox.awaitCount(1);

        List<TraceContext> found = find(clients, traces, sent.getMsgId(), Set.of(TraceType.Pub, TraceType.SubBefore, TraceType.SubAfter));
        TraceContext send = of(found, TraceType.Pub);
        assertEquals(producer.getProducerGroup(), send.getGroupName());
        assertTrue(send.isSuccess());
        assertEquals("DefaultRegion", send.getRegionId());
        TraceBean bean = send.getTraceBeans().get(0);
        assertEquals(List.of(topic, "TagA", key, sent.getMsgId(), sent.getOffsetMsgId()),
            List.of(bean.getTopic(), bean.getTags(), bean.getKeys(), bean.getMsgId(), bean.getOffsetMsgId()));
        TraceContext before = of(found, TraceType.SubBefore);
        TraceContext after = of(found, TraceType.SubAfter);
        assertEquals(group, before.getGroupName());
        assertEquals(before.getRequestId(), after.getRequestId());
        assertTrue(after.isSuccess());
        assertEquals(key, before.getTraceBeans().get(0).getKeys());
        // The keys of the traced message are keys of its traces.
        assertTrue(query(clients, traces, key).stream().anyMatch(it -> it.getMsgId() != null));
    }

    @Test
    void aFailedConsumptionAndItsRetryAreBothTraced() throws Exception {
        String topic = clients.topic(1);
        Queue<Integer> attempts = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer consumer = clients.newTracingConsumer(Clients.name("traced"), null);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            attempts.add(messages.get(0).getReconsumeTimes());
            context.setDelayLevelWhenNextConsume(1);
            return attempts.size() == 1 ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        SendResult sent = clients.producer().send(Messages.of(topic, "fails once"));
        Await.until("two attempts", () -> List.copyOf(attempts), List.of(0, 1)::equals);
        Await.until("both attempts are traced", () -> query(clients, TRACES, sent.getMsgId()).stream()
            .flatMap(it -> parsed(it).stream()).filter(it -> it.getTraceType() == TraceType.SubAfter)
            .map(TraceContext::isSuccess).sorted().collect(Collectors.toList()), List.of(false, true)::equals);
    }

    @Test
    void theEndOfATransactionIsTraced() throws Exception {
        String topic = clients.topic(1);
        TransactionMQProducer producer = clients.newTracingTransactor(Clients.name("traced"));
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        producer.start();
        String id = producer.sendMessageInTransaction(Messages.of(topic, "half"), null).getMsgId();
        List<TraceContext> found = find(clients, TRACES, id, Set.of(TraceType.Pub, TraceType.EndTransaction));
        assertEquals(LocalTransactionState.COMMIT_MESSAGE,
            of(found, TraceType.EndTransaction).getTraceBeans().get(0).getTransactionState());
    }

    /** A consumer that does not trace leaves the switch alone; the broker's word decides: TRACE_ON of the message. */
    @Test
    void theTraceTopicCanBeConsumedLikeAnyOther() throws Exception {
        String topic = clients.topic(1);
        String traces = clients.topic(1);
        Inbox inbox = new Inbox();
        clients.consume(Clients.name("group"), traces, "*", inbox);
        DefaultMQProducer producer = clients.newTracingProducer(traces);
        producer.start();
        List<String> ids = new ArrayList<>();
        for (String text : Messages.numbered("traced", 20)) {
            ids.add(producer.send(Messages.of(topic, text)).getMsgId());
        }
        Await.until("traces are stored", () -> clients.reader().readQueue(clients.reader().queues(traces).get(0), 0).size(), size -> size > 0);
        // Its client sends traces again that a slow disk kept for 5 s, and threads of a consumer have no order.
        Await.until("twenty traces", () -> inbox.messages().stream().flatMap(it -> parsed(it).stream())
            .map(it -> it.getTraceBeans().get(0).getMsgId()).collect(Collectors.toSet()), Set.copyOf(ids)::equals);
    }

    /** Waits until a message has a trace of each of these kinds. */
    static List<TraceContext> find(Clients clients, String traces, String id, Set<TraceType> kinds) throws Exception {
        return Await.until("traces " + kinds + " of " + id, () -> query(clients, traces, id).stream()
            .flatMap(it -> parsed(it).stream())
            .filter(it -> it.getTraceBeans().stream().anyMatch(bean -> id.equals(bean.getMsgId())))
            .collect(Collectors.toList()),
            found -> found.stream().map(TraceContext::getTraceType).collect(Collectors.toSet()).containsAll(kinds));
    }

    private static List<MessageExt> query(Clients clients, String traces, String key) throws Exception {
        try {
            QueryResult result = clients.producer().queryMessage(traces, key, 32, 0, Long.MAX_VALUE);
            return result.getMessageList();
        } catch (MQClientException noneYet) {
            return List.of();
        }
    }

    private static List<TraceContext> parsed(MessageExt message) {
        return TraceDataEncoder.decoderFromTraceDataString(new String(message.getBody(), StandardCharsets.UTF_8));
    }

    private static TraceContext of(List<TraceContext> found, TraceType kind) {
        TraceContext context = found.stream().filter(it -> it.getTraceType() == kind).findFirst().orElse(null);
        assertNotNull(context, kind + " in " + found);
        return context;
    }
}
