package ringmq.clients;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Finds out whether a server keeps what it acknowledged. A driver runs {@code produce}, ends or kills the server as it likes,
 * starts it again on the same store, ends {@code produce} and runs {@code verify}.
 *
 * <p>The file has one line per acknowledged message, {@code queueId queueOffset sequence crc32}, written after the answer came
 * and before the thread sends its next one. A last line without line feed is the trace of a killed producer and is ignored.
 */
public final class RestartProbe {
    private static final int PRODUCER_THREADS = 4;
    private static final int QUEUE_COUNT = 8;
    /** A restarted server replays its log before it answers; brokers register again within 30 s. */
    private static final long SERVER_BACK_SECONDS_MAX = 120;
    private static final int DIFFERENCES_SHOWN_MAX = 10;

    private RestartProbe() {
    }

    /** Always ends by exit: the client's threads would keep a process alive whose main thread failed. */
    public static void main(String[] args) {
        try {
            System.exit(run(args));
        } catch (Exception e) {
            e.printStackTrace();
            System.exit(2);
        }
    }

    private static int run(String[] args) throws Exception {
        if (args.length != 4 || !args[0].matches("produce|verify")) {
            System.err.println("usage: RestartProbe produce|verify NAMESRV TOPIC FILE");
            return 2;
        }
        quietLogs();
        if (args[0].equals("produce")) {
            produce(args[1], args[2], Path.of(args[3]));
            return 0;
        }
        return verify(args[1], args[2], Path.of(args[3])) ? 0 : 1;
    }

    private static void quietLogs() throws IOException {
        String folder = Files.createTempDirectory("restart-probe").toString();
        System.setProperty("rocketmq.log.root", folder);
        System.setProperty("rocketmq.log.level", "ERROR");
        System.setProperty("rocketmq.client.logRoot", folder);
        System.setProperty("rocketmq.client.logLevel", "ERROR");
    }

    private static void produce(String namesrv, String topic, Path file) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("probe_" + UUID.randomUUID());
        producer.setNamesrvAddr(namesrv);
        // A retry inside the client would hide which answer belongs to which stored message.
        producer.setRetryTimesWhenSendFailed(0);
        producer.setSendMsgTimeout(5000);
        producer.start();
        createIfMissing(producer, topic);

        AtomicBoolean running = new AtomicBoolean(true);
        // Not counted from 0: a second run on the same topic must not repeat sequence numbers.
        AtomicLong sequences = new AtomicLong(System.currentTimeMillis() << 20);
        AtomicLong acknowledged = new AtomicLong();
        AtomicLong failed = new AtomicLong();
        try (Writer writer = Files.newBufferedWriter(file, StandardOpenOption.CREATE, StandardOpenOption.APPEND)) {
            List<Thread> threads = new ArrayList<>();
            for (int i = 0; i < PRODUCER_THREADS; i++) {
                Thread thread = new Thread(() -> {
                    while (running.get()) {
                        if (sendOne(producer, topic, sequences.incrementAndGet(), writer)) {
                            acknowledged.incrementAndGet();
                        } else {
                            failed.incrementAndGet();
                        }
                    }
                });
                thread.start();
                threads.add(thread);
            }
            System.out.println("producing");
            while (System.in.read() >= 0) {
                // Only the end of the input counts.
            }
            running.set(false);
            for (Thread thread : threads) {
                thread.join();
            }
        }
        producer.shutdown();
        System.out.printf("acknowledged %d, failed %d%n", acknowledged.get(), failed.get());
    }

    private static void createIfMissing(DefaultMQProducer producer, String topic) throws Exception {
        untilServerIsBack(() -> {
            try {
                return producer.fetchPublishMessageQueues(topic);
            } catch (MQClientException noRoute) {
                ClientVersion.createTopic(producer, "TBW102", topic, QUEUE_COUNT);
                return producer.fetchPublishMessageQueues(topic);
            }
        });
    }

    private static boolean sendOne(DefaultMQProducer producer, String topic, long sequence, Writer writer) {
        int sizeBytes = new SplittableRandom(sequence).nextInt(100, 4096);
        byte[] body = Payload.bytes(0, sequence, sizeBytes);
        try {
            SendResult result = producer.send(new Message(topic, body));
            if (result.getSendStatus() != SendStatus.SEND_OK) {
                // Stored, but the server says that it may not last (flush or replica timeout): no promise to check.
                return false;
            }
            String line = result.getMessageQueue().getQueueId() + " " + result.getQueueOffset() + " " + sequence + " "
                + Payload.crc(body) + "\n";
            synchronized (writer) {
                writer.write(line);
                writer.flush();
            }
            return true;
        } catch (IOException e) {
            // A promise that is not on the list would not be checked: nothing more to do here.
            e.printStackTrace();
            System.exit(2);
            return false;
        } catch (Exception serverIsAway) {
            pause(100);
            return false;
        }
    }

    private static boolean verify(String namesrv, String topic, Path file) throws Exception {
        Map<Integer, Map<Long, Acknowledged>> expected = readAcknowledged(file);
        long expectedCount = expected.values().stream().mapToLong(Map::size).sum();

        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer("probe_" + UUID.randomUUID());
        consumer.setNamesrvAddr(namesrv);
        consumer.start();
        List<String> differences = new ArrayList<>();
        long storedCount = 0;
        List<MessageQueue> queues = awaitQueues(consumer, topic);
        for (MessageQueue queue : queues) {
            Map<Long, Acknowledged> ofQueue = expected.getOrDefault(queue.getQueueId(), new HashMap<>());
            storedCount += verifyQueue(consumer, queue, ofQueue, differences);
        }
        expected.forEach((queueId, left) -> left.values().forEach(lost ->
            differences.add("lost: queue " + queueId + " " + lost)));
        consumer.shutdown();

        differences.stream().limit(DIFFERENCES_SHOWN_MAX).forEach(System.out::println);
        System.out.printf("acknowledged %d, stored %d, queues %d, differences %d%n", expectedCount, storedCount, queues.size(),
            differences.size());
        return differences.isEmpty();
    }

    private static Map<Integer, Map<Long, Acknowledged>> readAcknowledged(Path file) throws IOException {
        String text = Files.readString(file, StandardCharsets.US_ASCII);
        String whole = text.substring(0, text.lastIndexOf('\n') + 1);
        Map<Integer, Map<Long, Acknowledged>> byQueue = new HashMap<>();
        try (BufferedReader lines = new BufferedReader(new java.io.StringReader(whole))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                String[] words = line.split(" ");
                Acknowledged one = new Acknowledged(Long.parseLong(words[1]), Long.parseLong(words[2]), Long.parseLong(words[3]));
                Acknowledged other = byQueue.computeIfAbsent(Integer.parseInt(words[0]), id -> new HashMap<>())
                    .put(one.queueOffset, one);
                if (other != null) {
                    throw new IllegalStateException("two acknowledgements for queue " + words[0] + ": " + one + " and " + other);
                }
            }
        }
        return byQueue;
    }

    /** Reads one queue whole, takes what it finds out of {@code expected} and returns how many messages there are. */
    private static long verifyQueue(DefaultMQPullConsumer consumer, MessageQueue queue, Map<Long, Acknowledged> expected,
        List<String> differences) throws Exception {
        long offset = consumer.minOffset(queue);
        long end = consumer.maxOffset(queue);
        long count = 0;
        while (offset < end) {
            PullResult result = consumer.pull(queue, "*", offset, 32);
            if (result.getPullStatus() != PullStatus.FOUND) {
                differences.add("hole: queue " + queue.getQueueId() + " offset " + offset + " of " + end + ": " + result);
                return count;
            }
            for (MessageExt message : result.getMsgFoundList()) {
                verifyMessage(message, offset, expected.remove(message.getQueueOffset()), differences);
                offset = message.getQueueOffset() + 1;
                count++;
            }
        }
        return count;
    }

    private static void verifyMessage(MessageExt message, long expectedOffset, Acknowledged expected, List<String> differences) {
        String where = "queue " + message.getQueueId() + " offset " + message.getQueueOffset();
        if (message.getQueueOffset() != expectedOffset) {
            differences.add("gap: " + where + " where " + expectedOffset + " is due");
        }
        Payload payload = Payload.parse(message.getBody());
        if (!payload.intact) {
            differences.add("damaged: " + where);
        }
        if (expected != null && (expected.crc != Payload.crc(message.getBody()) || expected.sequence != payload.sequence)) {
            differences.add("another message: " + where + " has sequence " + payload.sequence + " where " + expected + " is due");
        }
    }

    private static List<MessageQueue> awaitQueues(DefaultMQPullConsumer consumer, String topic) throws Exception {
        return untilServerIsBack(() -> {
            List<MessageQueue> queues = new ArrayList<>(consumer.fetchSubscribeMessageQueues(topic));
            queues.sort(null);
            for (MessageQueue queue : queues) {
                consumer.maxOffset(queue);
            }
            return queues;
        });
    }

    private static <T> T untilServerIsBack(Callable<T> call) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(SERVER_BACK_SECONDS_MAX);
        while (true) {
            try {
                return call.call();
            } catch (MQClientException e) {
                if (System.nanoTime() - end >= 0) {
                    throw e;
                }
                pause(200);
            }
        }
    }

    private static void pause(long millis) {
        try {
            TimeUnit.MILLISECONDS.sleep(millis);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private static final class Acknowledged {
        final long queueOffset;
        final long sequence;
        final long crc;

        Acknowledged(long queueOffset, long sequence, long crc) {
            this.queueOffset = queueOffset;
            this.sequence = sequence;
            this.crc = crc;
        }

        @Override
        public String toString() {
            return "offset " + queueOffset + " sequence " + sequence + " crc " + crc;
        }
    }
}
