package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.api.parallel.Isolated;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Needs a server that a test may end: system properties {@code server} and {@code server.folder}. */
@Tag("main")
@Isolated
@EnabledIfSystemProperty(named = "server", matches = ".+", disabledReason = "not a server that a test may end")
class ServerRestartTest {
    @RegisterExtension
    final Clients clients = new Clients();

    @ParameterizedTest
    @ValueSource(strings = {"stop", "kill"})
    void nothingIsLostWhenTheServerEndsUnderLoad(String end) throws Exception {
        String topic = clients.topic(4);
        Inbox inbox = new Inbox();
        clients.consume(Clients.name("group"), topic, "*", inbox);
        Load load = new Load(topic);
        load.awaitMore();
        Server.control(end);
        Server.control("start");
        load.awaitMore();
        load.end();

        TreeSet<String> all = new TreeSet<>();
        for (MessageQueue queue : clients.reader().queues(topic)) {
            Map<Long, String> acknowledged = load.acknowledged.get(queue.getQueueId());
            String last = "";
            long offset = 0;
            for (MessageExt message : clients.reader().readQueue(queue, acknowledged.size())) {
                String text = Messages.text(message);
                assertEquals(offset++, message.getQueueOffset());
                all.add(text);
                String expected = acknowledged.remove(message.getQueueOffset());
                if (expected == null) {
                    // A send without an answer may be stored late.
                    continue;
                }
                assertEquals(expected, text);
                // Sent after the answer to the one before.
                assertTrue(text.compareTo(last) > 0, text + " behind " + last);
                last = text;
            }
            assertEquals(Map.of(), acknowledged, "lost from " + queue);
        }
        Await.until("all delivered", () -> new TreeSet<>(inbox.bodies()), all::equals);
    }

    /** A thread per queue that sends all the time, and the offset of every acknowledged message. */
    private final class Load {
        /** Sends without an answer may be stored or not. */
        final List<Map<Long, String>> acknowledged = new ArrayList<>();
        private final AtomicBoolean ended = new AtomicBoolean();
        private final AtomicLong count = new AtomicLong();
        private final List<Thread> threads = new ArrayList<>();

        Load(String topic) throws Exception {
            DefaultMQProducer producer = clients.newProducer();
            producer.setSendMsgTimeout(2000);
            producer.start();
            for (MessageQueue queue : clients.reader().queues(topic)) {
                Map<Long, String> seen = new ConcurrentHashMap<>();
                acknowledged.add(seen);
                Thread thread = new Thread(() -> sendUntilEnded(producer, queue, seen));
                thread.start();
                threads.add(thread);
            }
        }

        void awaitMore() throws Exception {
            long enough = count.get() + 500;
            Await.until("500 more acknowledged", count::get, now -> now >= enough);
        }

        void end() throws InterruptedException {
            ended.set(true);
            for (Thread thread : threads) {
                thread.join();
            }
        }

        private void sendUntilEnded(DefaultMQProducer producer, MessageQueue queue, Map<Long, String> seen) {
            for (int i = 0; !ended.get(); i++) {
                String text = String.format("queue%d-%07d", queue.getQueueId(), i);
                try {
                    SendResult result = producer.send(Messages.of(queue.getTopic(), text), queue);
                    if (result.getSendStatus() == SendStatus.SEND_OK) {
                        seen.put(result.getQueueOffset(), text);
                        count.incrementAndGet();
                    }
                } catch (Exception serverIsAway) {
                    pause();
                }
            }
        }

        private void pause() {
            try {
                Thread.sleep(50);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }
    }
}
