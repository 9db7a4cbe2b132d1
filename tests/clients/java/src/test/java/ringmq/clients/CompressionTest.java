package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Clients compress and uncompress; the server passes the bytes and the flags that say how they are packed. */
@Tag("main")
class CompressionTest {
    /** Which way, in the flags of a message. */
    private static final int TYPE_MASK = 7 << 8;
    private static final Map<String, Integer> TYPE_FLAGS = Map.of("LZ4", 1 << 8, "ZSTD", 2 << 8, "ZLIB", 3 << 8);
    /** The producer compresses from so many bytes on. */
    private static final int THRESHOLD_BYTES = 1024;

    @RegisterExtension
    final Clients clients = new Clients();

    @ParameterizedTest
    @ValueSource(strings = {"ZLIB", "LZ4", "ZSTD"})
    void bodiesOfAllTypesComeBackPlain(String type) throws Exception {
        String topic = clients.topic(1);
        DefaultMQProducer producer = producer(type);
        Inbox inbox = new Inbox();
        clients.consume(Clients.name("group"), topic, "*", inbox);
        List<byte[]> bodies = List.of(body(1), body(THRESHOLD_BYTES - 1), body(THRESHOLD_BYTES), body(100_000), body(1 << 20));
        for (byte[] body : bodies) {
            producer.send(new Message(topic, body));
        }
        List<MessageExt> stored = clients.reader().readAll(topic, bodies.size());
        for (int i = 0; i < bodies.size(); i++) {
            assertArrayEquals(bodies.get(i), stored.get(i).getBody(), type + " of " + bodies.get(i).length);
            assertFlags(type, bodies.get(i), stored.get(i));
        }
        inbox.awaitCount(bodies.size());
        for (MessageExt pushed : inbox.messages()) {
            assertArrayEquals(bodies.get((int) pushed.getQueueOffset()), pushed.getBody());
            assertFlags(type, pushed.getBody(), pushed);
        }
    }

    /** A client packs no message of a batch, however large. */
    @Test
    void messagesOfABatchStayPlainBetweenCompressedOnes() throws Exception {
        String topic = clients.topic(1);
        MessageQueue queue = clients.reader().queues(topic).get(0);
        DefaultMQProducer producer = producer("ZSTD");
        producer.send(new Message(topic, body(5_000)), queue);
        List<Message> batch = new ArrayList<>();
        for (int number = 0; number < 5; number++) {
            batch.add(new Message(topic, body(10_000 + number)));
        }
        producer.send(batch, queue);
        producer.send(new Message(topic, body(6_000)), queue);
        List<MessageExt> stored = clients.reader().readQueue(queue, 7);
        int[] sizes = {5_000, 10_000, 10_001, 10_002, 10_003, 10_004, 6_000};
        for (int i = 0; i < sizes.length; i++) {
            assertArrayEquals(body(sizes[i]), stored.get(i).getBody());
            boolean isInBatch = 0 < i && i < 6;
            assertEquals(isInBatch, stored.get(i).getStoreSize() > sizes[i], "stored with " + stored.get(i).getStoreSize());
            assertEquals(isInBatch ? 0 : TYPE_FLAGS.get("ZSTD"), stored.get(i).getSysFlag() & TYPE_MASK);
        }
    }

    /** What passes through the server's own hands on the way: timer, dead letters, half messages, filters. */
    @Test
    void aDelayedAndFilteredBodyIsStillPacked() throws Exception {
        String topic = clients.topic(1);
        DefaultMQProducer producer = producer("LZ4");
        Message byLevel = Messages.tagged(topic, "TagA", "");
        byLevel.setBody(body(50_000));
        byLevel.setDelayTimeLevel(1);
        Message byTime = Messages.tagged(topic, "TagA", "");
        byTime.setBody(body(60_000));
        ClientVersion.delaySeconds(byTime, 2);
        producer.send(byLevel);
        producer.send(byTime);
        MessageQueue queue = clients.reader().queues(topic).get(0);
        clients.reader().awaitMaxOffset(queue, 2);
        PullResult pulled = clients.reader().consumer.pull(queue, "TagA", 0, 32);
        assertEquals(2, pulled.getMsgFoundList().size());
        for (MessageExt message : pulled.getMsgFoundList()) {
            byte[] expected = body(message.getBody().length);
            assertArrayEquals(expected, message.getBody());
            assertFlags("LZ4", expected, message);
        }
    }

    private static void assertFlags(String type, byte[] body, MessageExt message) {
        // The client takes the flag away from what it uncompressed, and leaves the type.
        boolean isPacked = body.length >= THRESHOLD_BYTES;
        assertEquals(isPacked ? TYPE_FLAGS.get(type) : 0, message.getSysFlag() & TYPE_MASK, type);
        assertEquals(isPacked, message.getStoreSize() < body.length, "stored with " + message.getStoreSize());
    }

    private DefaultMQProducer producer(String type) throws Exception {
        DefaultMQProducer producer;
        // A producer looks at it when it is made. Those that other tests make meanwhile compress this way as well.
        System.setProperty("rocketmq.message.compressType", type);
        try {
            producer = clients.newProducer();
        } finally {
            System.clearProperty("rocketmq.message.compressType");
        }
        producer.setCompressMsgBodyOverHowmuch(THRESHOLD_BYTES);
        producer.start();
        return producer;
    }

    private static byte[] body(int sizeBytes) {
        byte[] body = new byte[sizeBytes];
        for (int i = 0; i < sizeBytes; i++) {
            body[i] = (byte) ("abcdefgh".charAt(i % 8) + i / 4096 % 16);
        }
        return body;
    }
}
