package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.api.parallel.Isolated;
import ringmq.clients.PendingOverKill.Feature;

/** What waits for its time, or for its producer's word, when the server is killed (kill -9). */
@Tag("main")
@Isolated
@EnabledIfSystemProperty(named = "server", matches = ".+", disabledReason = "not a server that a test may end")
class KilledTimersTest {
    /** Levels 2 and 18 of {@code ../server}: due while the server is away or soon after it, and well after it. */
    private static final Map<Integer, Long> LEVELS_MS = Map.of(2, 5_000L, 18, 20_000L);
    /** How much earlier a message may come: Apache cuts times to seconds, and looks at levels in steps. */
    private static final long EARLY_MS = Server.IS_APACHE ? 1_000 : 0;

    @RegisterExtension
    final Clients clients = new Clients();

    @TestFactory
    Stream<DynamicTest> whatWaitedComesInTimeAndOnce() throws Exception {
        return new PendingOverKill()
            .with("delay levels", new Levels())
            .with("times of one's own, and recall", new Times())
            .with("open transactions are asked for and end once", new OpenTransactions())
            .with("transactions that end while the server is killed", new TransactionsUnderLoad())
            .run();
    }

    private final class Levels implements Feature {
        private String topic;

        @Override
        public void before() throws Exception {
            topic = clients.topic(2);
            for (int round = 0; round < 10; round++) {
                for (int level : LEVELS_MS.keySet()) {
                    Message message = Messages.of(topic, String.format("level-%02d-%05d", level, round));
                    message.setDelayTimeLevel(level);
                    clients.producer().send(message);
                }
            }
        }

        @Override
        public void after() throws Exception {
            List<String> expected = new ArrayList<>(Messages.numbered("level-02", 10));
            expected.addAll(Messages.numbered("level-18", 10));
            List<MessageExt> came = clients.reader().readAll(topic, 20);
            assertEquals(expected, came.stream().map(Messages::text).sorted().collect(Collectors.toList()));
            for (MessageExt message : came) {
                long delayMs = LEVELS_MS.get(message.getDelayTimeLevel());
                long waitedMs = message.getStoreTimestamp() - message.getBornTimestamp();
                assertTrue(waitedMs >= delayMs - EARLY_MS, Messages.text(message) + " after " + waitedMs);
            }
            // One level, one queue: the order of the sends.
            for (int queue = 0; queue < 2; queue++) {
                int id = queue;
                List<String> late = came.stream().filter(it -> it.getQueueId() == id).map(Messages::text)
                    .filter(it -> it.startsWith("level-18")).collect(Collectors.toList());
                assertEquals(late.stream().sorted().collect(Collectors.toList()), late);
            }
        }
    }

    private final class Times implements Feature {
        private final Map<String, Long> dueMs = new HashMap<>();
        private final Map<String, String> handles = new HashMap<>();
        /** Recalls that were answered with success; one that comes too late is not. */
        private final Set<String> recalled = new HashSet<>();
        private String topic;

        @Override
        public void before() throws Exception {
            topic = clients.topic(1);
            long nowMs = System.currentTimeMillis();
            for (int seconds : new int[] {25, 3, 15, 4, 20}) {
                send("due-" + seconds, nowMs + seconds * 1_000L);
            }
            send("recalled-before", nowMs + 22_000);
            // Apache needs long to be started.
            send("recalled-after", nowMs + (Server.IS_APACHE ? 60_000 : 29_000));
            send("last", nowMs + (Server.IS_APACHE ? 62_000 : 30_000));
            recall("recalled-before");
            assertEquals(ClientVersion.canRecall(), recalled.contains("recalled-before"));
        }

        @Override
        public void after() throws Exception {
            recall("recalled-after");
            List<String> expected = dueMs.keySet().stream().filter(text -> !recalled.contains(text))
                .sorted(Comparator.comparing(dueMs::get)).collect(Collectors.toList());
            // The last one is due when all others are.
            List<MessageExt> came = clients.reader().readAll(topic, expected.size());
            assertEquals(expected, came.stream().map(Messages::text).collect(Collectors.toList()));
            for (MessageExt message : came) {
                long earlyMs = dueMs.get(Messages.text(message)) - message.getStoreTimestamp();
                assertTrue(earlyMs <= EARLY_MS, Messages.text(message) + " early by " + earlyMs);
            }
        }

        private void send(String text, long atMs) throws Exception {
            Message message = Messages.of(topic, text);
            ClientVersion.deliverAt(message, atMs);
            SendResult result = clients.producer().send(message);
            assertEquals(SendStatus.SEND_OK, result.getSendStatus());
            dueMs.put(text, atMs);
            handles.put(text, ClientVersion.recallHandle(result));
        }

        private void recall(String text) throws Exception {
            if (!ClientVersion.canRecall()) {
                return;
            }
            // The server is there: topics are asked for.
            clients.reader().awaitQueues(topic, 1);
            while (System.currentTimeMillis() < dueMs.get(text) && !recalled.contains(text)) {
                try {
                    ClientVersion.recall(clients.producer(), topic, handles.get(text));
                    recalled.add(text);
                } catch (Exception serverIsAwayOrTooLate) {
                    Thread.sleep(100);
                }
            }
        }
    }

    /** Half messages that nobody knew of before the kill, some immune against checks for a while. */
    private final class OpenTransactions implements Feature {
        private final Listener listener = new Listener();
        private final Inbox inbox = new Inbox();
        private TransactionMQProducer producer;
        private String topic;

        @Override
        public void before() throws Exception {
            topic = clients.topic(2);
            clients.consume(Clients.name("group"), topic, "*", inbox);
            producer = transactor(listener);
            for (String text : Messages.numbered("open", 12)) {
                Message message = Messages.of(topic, text);
                // Checks begin when the server is back: 4 of them, one every 2 s, would end it before.
                MessageAccessor.putProperty(message, "CHECK_IMMUNITY_TIME_IN_SECONDS", "12");
                SendResult result = producer.sendMessageInTransaction(message, null);
                assertEquals(SendStatus.SEND_OK, result.getSendStatus());
            }
        }

        @Override
        public void after() throws Exception {
            List<String> committed = new ArrayList<>();
            for (String text : Messages.numbered("open", 12)) {
                boolean commits = text.hashCode() % 3 != 0;
                listener.known.put(text, commits ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE);
                if (commits) {
                    committed.add(text);
                }
            }
            Await.until("all committed", inbox::bodies, bodies -> bodies.size() >= committed.size());
            // One more that is only known when it is asked for: another turn of checks has passed when it comes.
            listener.known.put("zlast", LocalTransactionState.COMMIT_MESSAGE);
            Await.until("the server takes half messages", () -> {
                try {
                    return producer.sendMessageInTransaction(Messages.of(topic, "zlast"), null).getSendStatus() == SendStatus.SEND_OK;
                } catch (Exception serverIsAway) {
                    return false;
                }
            }, isTaken -> isTaken);
            committed.add("zlast");
            Await.until("the last", inbox::bodies, bodies -> bodies.contains("zlast"));
            assertEquals(committed, inbox.bodies());
        }
    }

    /** Ends travel oneway: those that were lost are asked for. Each text has its end, whoever is asked and when. */
    private final class TransactionsUnderLoad implements Feature {
        private final Queue<String> taken = new ConcurrentLinkedQueue<>();
        private final AtomicBoolean isEnded = new AtomicBoolean();
        private String topic;
        private Thread load;

        @Override
        public void before() throws Exception {
            topic = clients.topic(3);
            TransactionMQProducer producer = transactor(new Decided());
            producer.setSendMsgTimeout(2_000);
            // A half message whose answer the kill took away, sent again, would be two.
            producer.setRetryTimesWhenSendFailed(0);
            load = new Thread(() -> {
                for (int i = 0; !isEnded.get(); i++) {
                    String text = String.format("load-%07d", i);
                    try {
                        if (producer.sendMessageInTransaction(Messages.of(topic, text), text).getSendStatus() == SendStatus.SEND_OK) {
                            taken.add(text);
                        }
                        Thread.sleep(5);
                    } catch (Exception serverIsAway) {
                        // Stored or not, it ends as decided.
                    }
                }
            });
            load.start();
            awaitMore();
        }

        @Override
        public void after() throws Exception {
            awaitMore();
            isEnded.set(true);
            load.join();
            TreeSet<String> expected = taken.stream().filter(text -> stateOf(text) == LocalTransactionState.COMMIT_MESSAGE)
                .collect(Collectors.toCollection(TreeSet::new));
            List<String> stored = new ArrayList<>();
            Await.until("all committed", () -> {
                stored.clear();
                for (var queue : clients.reader().queues(topic)) {
                    clients.reader().readQueue(queue, 0).forEach(it -> stored.add(Messages.text(it)));
                }
                TreeSet<String> missing = new TreeSet<>(expected);
                missing.removeAll(stored);
                return missing;
            }, TreeSet::isEmpty);
            if (!Server.IS_APACHE) {
                // That one stores again what was committed a moment ago, if it asks before it wrote that down.
                assertEquals(stored.size(), new TreeSet<>(stored).size(), "each once");
            }
            for (String text : stored) {
                assertEquals(LocalTransactionState.COMMIT_MESSAGE, stateOf(text), "rolled back: " + text);
            }
        }

        private void awaitMore() throws Exception {
            int enough = taken.size() + 100;
            Await.until("100 more half messages", taken::size, size -> size >= enough);
        }
    }

    private static LocalTransactionState stateOf(String text) {
        return text.hashCode() % 4 == 0 ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.COMMIT_MESSAGE;
    }

    private TransactionMQProducer transactor(TransactionListener listener) throws Exception {
        TransactionMQProducer producer = clients.newTransactor(Clients.name("transactor"));
        producer.setTransactionListener(listener);
        // A server that was started knows whom to ask by their next heartbeat.
        producer.setHeartbeatBrokerInterval(1000);
        producer.start();
        assertNotNull(producer.getTransactionListener());
        return producer;
    }

    private static final class Decided implements TransactionListener {
        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            // Some are known only when they are asked for.
            return argument.hashCode() % 10 == 0 ? LocalTransactionState.UNKNOW : stateOf((String) argument);
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            return stateOf(Messages.text(message));
        }
    }

    private static final class Listener implements TransactionListener {
        final Map<String, LocalTransactionState> known = new ConcurrentHashMap<>();

        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            return LocalTransactionState.UNKNOW;
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            return known.getOrDefault(Messages.text(message), LocalTransactionState.UNKNOW);
        }
    }
}
