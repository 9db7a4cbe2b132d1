package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/**
 * Messages of all sizes, about 500 MB for the default count, written by one thread per queue and read back twice: by pull for
 * the order, by a push consumer for what an application sees. Every body is compared whole with what was sent.
 */
@Tag("main")
@Tag("slow")
class HundredThousandMessages {
    private static final int COUNT = Integer.getInteger("messages", 100_000);
    private static final int QUEUE_COUNT = 8;
    private static final int PER_QUEUE = COUNT / QUEUE_COUNT;
    private static final int BODY_BYTES_MAX = 4 * 1024 * 1024;
    private static final long SEED = 20240917;
    private static final int SYSTEM_BUSY = 2;
    private static final Duration DEADLINE = Duration.ofMinutes(10);

    @RegisterExtension
    final Clients clients = new Clients();

    @Test
    void arriveIntactAndInOrder() throws Exception {
        String topic = clients.topic(QUEUE_COUNT);
        List<MessageQueue> queues = clients.reader().queues(topic);
        timed("produced", () -> perQueue(queues, this::produce));
        timed("read in order", () -> perQueue(queues, this::readInOrder));
        timed("delivered", () -> consume(topic));
    }

    /** A size is a function of queue and sequence, so that a reader knows it without being told. */
    private static int sizeBytes(int queue, int sequence) {
        if (sequence == PER_QUEUE / 2) {
            return BODY_BYTES_MAX;
        }
        SplittableRandom random = new SplittableRandom(SEED + ((long) queue << 32) + sequence);
        int perTenThousand = random.nextInt(10_000);
        if (perTenThousand == 0) {
            return BODY_BYTES_MAX;
        }
        return perTenThousand < 250 ? random.nextInt(16 * 1024, 256 * 1024 + 1) : random.nextInt(100, 2 * 1024 + 1);
    }

    private static byte[] body(int queue, int sequence) {
        return Payload.bytes(queue, sequence, sizeBytes(queue, sequence));
    }

    private Void produce(MessageQueue queue) throws Exception {
        DefaultMQProducer producer = clients.newProducer();
        // A resend by the client could store a message twice; and the exact sizes shall travel.
        producer.setRetryTimesWhenSendFailed(0);
        producer.setSendMsgTimeout(60_000);
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        producer.start();
        for (int sequence = 0; sequence < PER_QUEUE; sequence++) {
            Message message = new Message(queue.getTopic(), "T" + sequence % 7, body(queue.getQueueId(), sequence));
            SendResult result = sendUnlessBusy(producer, message, queue);
            assertEquals(SendStatus.SEND_OK, result.getSendStatus());
            assertEquals(sequence, result.getQueueOffset());
        }
        producer.shutdown();
        return null;
    }

    /** A busy server refuses before it stores, so sending again is safe; any other failure ends the test. */
    private static SendResult sendUnlessBusy(DefaultMQProducer producer, Message message, MessageQueue queue) throws Exception {
        long end = System.nanoTime() + DEADLINE.toNanos();
        while (true) {
            try {
                return producer.send(message, queue);
            } catch (MQBrokerException e) {
                if (e.getResponseCode() != SYSTEM_BUSY || System.nanoTime() - end >= 0) {
                    throw e;
                }
                Thread.sleep(50);
            }
        }
    }

    private Void readInOrder(MessageQueue queue) throws Exception {
        clients.reader().awaitMaxOffset(queue, PER_QUEUE);
        DefaultMQPullConsumer consumer = clients.pullConsumer(Clients.name("reader"));
        assertEquals(PER_QUEUE, consumer.maxOffset(queue));
        int sequence = 0;
        while (sequence < PER_QUEUE) {
            PullResult result = consumer.pull(queue, "*", sequence, 32);
            assertEquals(PullStatus.FOUND, result.getPullStatus(), queue + " at " + sequence + ": " + result);
            for (MessageExt message : result.getMsgFoundList()) {
                assertEquals(sequence, message.getQueueOffset());
                assertEquals("T" + sequence % 7, message.getTags());
                assertArrayEquals(body(queue.getQueueId(), sequence), message.getBody(), queue + " at " + sequence);
                sequence++;
            }
            assertEquals(sequence, result.getNextBeginOffset());
        }
        return null;
    }

    private Void consume(String topic) throws Exception {
        AtomicIntegerArray deliveries = new AtomicIntegerArray(QUEUE_COUNT * PER_QUEUE);
        AtomicInteger count = new AtomicInteger();
        AtomicReference<String> wrong = new AtomicReference<>();
        DefaultMQPushConsumer consumer = clients.newPushConsumer(Clients.name("group"));
        // Megabytes per queue kept by the client; 100 by default, which would be most of this JVM.
        consumer.setPullThresholdSizeForQueue(16);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                String complaint = check(message);
                if (complaint != null) {
                    wrong.compareAndSet(null, complaint);
                } else {
                    deliveries.incrementAndGet(message.getQueueId() * PER_QUEUE + (int) message.getQueueOffset());
                }
                count.incrementAndGet();
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        Await.until("all delivered", DEADLINE, count::get, seen -> seen >= deliveries.length() || wrong.get() != null);
        consumer.shutdown();
        assertNull(wrong.get());
        for (int i = 0; i < deliveries.length(); i++) {
            assertEquals(1, deliveries.get(i), "deliveries of queue " + i / PER_QUEUE + " sequence " + i % PER_QUEUE);
        }
        return null;
    }

    /** Not an assertion: those would only make the client deliver again. */
    private static String check(MessageExt message) {
        Payload payload = Payload.parse(message.getBody());
        String where = "queue " + message.getQueueId() + " offset " + message.getQueueOffset();
        if (!payload.intact) {
            return where + ": body damaged";
        }
        if (payload.queue != message.getQueueId() || payload.sequence != message.getQueueOffset()) {
            return where + ": body of queue " + payload.queue + " sequence " + payload.sequence;
        }
        int expectedBytes = sizeBytes(payload.queue, (int) payload.sequence);
        return message.getBody().length == expectedBytes ? null : where + ": not " + expectedBytes + " bytes";
    }

    private static Void perQueue(List<MessageQueue> queues, QueueTask task) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(queues.size());
        try {
            List<Future<Void>> running = new ArrayList<>();
            for (MessageQueue queue : queues) {
                running.add(threads.submit(() -> task.run(queue)));
            }
            for (Future<Void> future : running) {
                future.get();
            }
        } finally {
            threads.shutdownNow();
        }
        return null;
    }

    private static void timed(String what, Callable<Void> phase) throws Exception {
        long start = System.nanoTime();
        phase.call();
        System.out.printf("%d messages %s in %.1f s%n", PER_QUEUE * QUEUE_COUNT, what, (System.nanoTime() - start) / 1e9);
    }

    private interface QueueTask {
        Void run(MessageQueue queue) throws Exception;
    }
}
