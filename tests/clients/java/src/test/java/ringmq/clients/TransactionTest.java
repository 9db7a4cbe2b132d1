package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;

/**
 * The server's transactionTimeOut and transactionCheckInterval are 2 s and transactionCheckMax is 4 ({@code ../server});
 * with another server's 6 s, 30 s and 15 it only takes longer.
 */
@Tag("main")
@Execution(ExecutionMode.CONCURRENT)
class TransactionTest {
    static final String GIVEN_UP = "TRANS_CHECK_MAX_TIME_TOPIC";

    @RegisterExtension
    final Clients clients = new Clients();

    @Test
    void whatIsCommittedComesOnceAndWhatIsRolledBackNever() throws Exception {
        String topic = clients.topic(4);
        Inbox inbox = new Inbox();
        clients.consume(Clients.name("group"), topic, "*", inbox);
        Listener listener = new Listener();
        TransactionMQProducer producer = transactor(Clients.name("transactor"), listener);
        List<String> committed = new ArrayList<>();
        for (String text : Messages.numbered("transaction", 40)) {
            boolean commits = text.hashCode() % 2 == 0;
            listener.first.put(text, commits ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE);
            listener.later.put(text, listener.first.get(text));
            TransactionSendResult result = producer.sendMessageInTransaction(Messages.of(topic, text), text);
            assertEquals(SendStatus.SEND_OK, result.getSendStatus());
            assertEquals(listener.first.get(text), result.getLocalTransactionState());
            assertEquals(result.getMsgId(), result.getTransactionId());
            assertTrue(result.getQueueOffset() >= 0);
            if (commits) {
                committed.add(text);
            }
        }
        inbox.awaitCount(committed.size());
        clients.producer().send(Messages.of(topic, "last"));
        inbox.awaitCount(committed.size() + 1);
        committed.add("last");
        assertEquals(committed.stream().sorted().collect(Collectors.toList()), inbox.bodies());
    }

    @Test
    void theCommittedMessageIsWhatItsProducerSentAndSaysThatItWasOne() throws Exception {
        String topic = clients.topic(1);
        Listener listener = new Listener();
        String group = Clients.name("transactor");
        TransactionMQProducer producer = transactor(group, listener);
        listener.first.put("facts", LocalTransactionState.COMMIT_MESSAGE);
        Message message = Messages.tagged(topic, "TagA", "facts");
        message.setKeys("key1 key2");
        message.setFlag(17);
        message.putUserProperty("colour", "red");
        TransactionSendResult result = producer.sendMessageInTransaction(message, "facts");

        MessageExt stored = clients.reader().readAll(topic, 1).get(0);
        assertEquals("facts", Messages.text(stored));
        assertEquals(result.getMsgId(), stored.getMsgId());
        assertEquals("TagA", stored.getTags());
        assertEquals("key1 key2", stored.getKeys());
        assertEquals(17, stored.getFlag());
        assertEquals("red", stored.getUserProperty("colour"));
        assertEquals(0, stored.getQueueOffset());
        assertEquals(0, stored.getReconsumeTimes());
        assertEquals(0x8, stored.getSysFlag() & 0xC, "committed");
        assertTrue(0 < stored.getPreparedTransactionOffset()
            && stored.getPreparedTransactionOffset() < stored.getCommitLogOffset(), stored.toString());
        Map<String, String> properties = stored.getProperties();
        assertEquals("true", properties.get("TRAN_MSG"));
        assertEquals(group, properties.get("PGROUP"));
        assertEquals(topic, properties.get("REAL_TOPIC"));
        assertEquals("0", properties.get("REAL_QID"));
        assertEquals(result.getMsgId(), properties.get("__transactionId__"));
        assertEquals(result.getMsgId(), properties.get("UNIQ_KEY"));
        assertNotNull(properties.get("CLUSTER"));
    }

    @Test
    void whoeverDoesNotKnowIsAskedUntilItDoes() throws Exception {
        String topic = clients.topic(2);
        Inbox inbox = new Inbox();
        clients.consume(Clients.name("group"), topic, "*", inbox);
        Listener listener = new Listener();
        String group = Clients.name("transactor");
        TransactionMQProducer producer = transactor(group, listener);
        List<String> texts = Messages.numbered("unknown", 6);
        for (String text : texts) {
            producer.sendMessageInTransaction(Messages.of(topic, text), text);
        }
        Await.until("each is checked", listener::checkedTexts, checked -> checked.containsAll(texts));
        assertEquals(List.of(), inbox.bodies(), "nothing is seen before somebody knows");
        for (MessageExt check : listener.checks) {
            assertEquals(topic, check.getTopic());
            assertEquals(group, check.getProperty("PGROUP"));
            assertEquals(check.getTransactionId(), check.getProperty("UNIQ_KEY"));
            assertTrue(Integer.parseInt(check.getProperty("TRANSACTION_CHECK_TIMES")) >= 1, check.toString());
        }
        List<String> committed = texts.subList(0, 3);
        for (String text : texts) {
            listener.later.put(text, committed.contains(text)
                ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE);
        }
        inbox.awaitCount(committed.size());
        assertEquals(committed, inbox.bodies());
        for (MessageExt message : inbox.messages()) {
            assertTrue(Integer.parseInt(message.getProperty("TRANSACTION_CHECK_TIMES")) >= 1, message.toString());
        }
    }

    @Test
    void anotherProducerOfTheGroupIsAskedWhenTheFirstIsGone() throws Exception {
        String topic = clients.topic(1);
        String group = Clients.name("transactor");
        Listener silent = new Listener();
        TransactionMQProducer first = transactor(group, silent);
        first.sendMessageInTransaction(Messages.of(topic, "orphan"), "orphan");
        first.shutdown();
        Listener knows = new Listener();
        knows.later.put("orphan", LocalTransactionState.COMMIT_MESSAGE);
        TransactionMQProducer second = clients.newTransactor(group);
        second.setTransactionListener(knows);
        // A producer tells its group to brokers that it knows, which are those that it sent to.
        second.setHeartbeatBrokerInterval(1000);
        second.start();
        second.send(Messages.of(topic, "hello"));
        assertEquals(List.of("hello", "orphan"),
            clients.reader().readAll(topic, 2).stream().map(Messages::text).collect(Collectors.toList()));
        assertEquals(List.of("orphan"), knows.checkedTexts().stream().distinct().collect(Collectors.toList()));
    }

    /** Counts up and ends: with 2 s and 4 checks within 20 s. */
    @Test
    void whatNobodyEverKnowsIsGivenUp() throws Exception {
        String topic = clients.topic(1);
        Listener listener = new Listener();
        TransactionMQProducer producer = transactor(Clients.name("transactor"), listener);
        TransactionSendResult result = producer.sendMessageInTransaction(Messages.of(topic, "lost"), "lost");
        MessageExt givenUp = Await.until("it is given up", () -> givenUp(clients, result.getMsgId()), found -> found != null);
        assertEquals("lost", Messages.text(givenUp));
        assertEquals(topic, givenUp.getProperty("REAL_TOPIC"));
        String checks = givenUp.getProperty("TRANSACTION_CHECK_TIMES");
        assertEquals(listener.checks.stream().map(check -> check.getProperty("TRANSACTION_CHECK_TIMES"))
            .mapToInt(Integer::parseInt).max().orElse(0), Integer.parseInt(checks));
        clients.producer().send(Messages.of(topic, "last"));
        assertEquals("last", Messages.text(clients.reader().readAll(topic, 1).get(0)));
    }

    static MessageExt givenUp(Clients clients, String id) throws Exception {
        for (MessageQueue queue : clients.reader().queues(GIVEN_UP)) {
            for (MessageExt message : clients.reader().readQueue(queue, 0)) {
                if (id.equals(message.getProperty("UNIQ_KEY"))) {
                    return message;
                }
            }
        }
        return null;
    }

    private TransactionMQProducer transactor(String group, Listener listener) throws Exception {
        TransactionMQProducer producer = clients.newTransactor(group);
        producer.setTransactionListener(listener);
        producer.start();
        return producer;
    }

    /** What it knows at first and when it is asked, by the text; UNKNOW without. */
    private static final class Listener implements TransactionListener {
        final Map<String, LocalTransactionState> first = new ConcurrentHashMap<>();
        final Map<String, LocalTransactionState> later = new ConcurrentHashMap<>();
        final Queue<MessageExt> checks = new ConcurrentLinkedQueue<>();

        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            return first.getOrDefault((String) argument, LocalTransactionState.UNKNOW);
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            checks.add(message);
            return later.getOrDefault(Messages.text(message), LocalTransactionState.UNKNOW);
        }

        Collection<String> checkedTexts() {
            Function<MessageExt, String> text = Messages::text;
            return checks.stream().map(text).collect(Collectors.toList());
        }
    }
}
