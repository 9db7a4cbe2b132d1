package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageClientExt;
import org.apache.rocketmq.common.message.MessageClientIDSetter;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

@Tag("main")
class SendTest {
    /** Made by the client from its own address: 16 bytes if that is IPv4, 28 if it is IPv6. */
    private static final String CLIENT_ID = "[0-9A-F]{32}|[0-9A-F]{56}";
    /** Made by the broker from its advertised address, IPv4 or IPv6, and the commit log position. */
    private static final String OFFSET_ID = "[0-9A-F]{32}([0-9A-F]{24})?";

    @RegisterExtension
    final Clients clients = new Clients();

    @Test
    void syncSendAnswersWithIdsAndConsecutiveOffsets() throws Exception {
        String topic = clients.topic(1);
        List<SendResult> results = new ArrayList<>();
        for (String text : Messages.numbered("sync", 10)) {
            Message message = Messages.of(topic, text);
            SendResult result = clients.producer().send(message);
            assertEquals(SendStatus.SEND_OK, result.getSendStatus());
            assertEquals(MessageClientIDSetter.getUniqID(message), result.getMsgId());
            assertTrue(result.getMsgId().matches(CLIENT_ID), result.getMsgId());
            assertTrue(result.getOffsetMsgId().matches(OFFSET_ID), result.getOffsetMsgId());
            assertEquals(results.size(), result.getQueueOffset());
            assertEquals(topic, result.getMessageQueue().getTopic());
            assertEquals(0, result.getMessageQueue().getQueueId());
            assertEquals("DefaultRegion", result.getRegionId());
            assertTrue(result.isTraceOn());
            results.add(result);
        }
        List<MessageExt> stored = clients.reader().readAll(topic, 10);
        for (int i = 0; i < stored.size(); i++) {
            assertIsWhatWasAcknowledged(results.get(i), stored.get(i));
            assertEquals(String.format("sync-%05d", i), Messages.text(stored.get(i)));
        }
        assertEquals(10, results.stream().map(SendResult::getOffsetMsgId).distinct().count());
    }

    @Test
    void storedMessageCarriesTimesHostsAndSizes() throws Exception {
        String topic = clients.topic(1);
        long before = System.currentTimeMillis();
        clients.producer().send(Messages.of(topic, "facts"));
        MessageExt stored = clients.reader().readAll(topic, 1).get(0);
        long after = System.currentTimeMillis();
        assertTrue(before <= stored.getBornTimestamp() && stored.getBornTimestamp() <= after, "born " + stored);
        // Half a second of grace: the server may read a coarser clock.
        assertTrue(before - 500 <= stored.getStoreTimestamp() && stored.getStoreTimestamp() <= after + 500, "stored " + stored);
        assertNotEquals(0, stored.getBornHost().toString().length());
        assertTrue(stored.getStoreSize() > "facts".length());
        assertEquals(0, stored.getReconsumeTimes());
        assertEquals(Payload.crc(stored.getBody()) & 0x7fffffff, stored.getBodyCRC());
    }

    @Test
    void asyncSendsAreAllAnsweredAndStoredWhereTheAnswerSays() throws Exception {
        String topic = clients.topic(4);
        Map<String, CompletableFuture<SendResult>> answers = new LinkedHashMap<>();
        for (String text : Messages.numbered("async", 200)) {
            CompletableFuture<SendResult> answer = new CompletableFuture<>();
            answers.put(text, answer);
            clients.producer().send(Messages.of(topic, text), completing(answer));
        }
        Map<String, String> placeOfText = new LinkedHashMap<>();
        for (Map.Entry<String, CompletableFuture<SendResult>> entry : answers.entrySet()) {
            SendResult result = entry.getValue().get(60, TimeUnit.SECONDS);
            assertEquals(SendStatus.SEND_OK, result.getSendStatus());
            placeOfText.put(entry.getKey(), place(result.getMessageQueue().getQueueId(), result.getQueueOffset()));
        }
        assertEquals(200, new HashSet<>(placeOfText.values()).size(), "no two messages in one place");
        for (MessageExt stored : clients.reader().readAll(topic, 200)) {
            assertEquals(placeOfText.get(Messages.text(stored)), place(stored.getQueueId(), stored.getQueueOffset()));
        }
    }

    @Test
    void onewaySendsAreStored() throws Exception {
        String topic = clients.topic(4);
        List<String> texts = Messages.numbered("oneway", 50);
        for (String text : texts) {
            clients.producer().sendOneway(Messages.of(topic, text));
        }
        assertEquals(texts, sortedTexts(clients.reader().readAll(topic, 50)));
    }

    @Test
    void chosenQueueGetsTheMessage() throws Exception {
        String topic = clients.topic(4);
        for (MessageQueue queue : clients.reader().queues(topic)) {
            SendResult result = clients.producer().send(Messages.of(topic, "for " + queue.getQueueId()), queue);
            assertEquals(queue, result.getMessageQueue());
            assertEquals(0, result.getQueueOffset());
        }
        for (MessageExt stored : clients.reader().readAll(topic, 4)) {
            assertEquals("for " + stored.getQueueId(), Messages.text(stored));
        }
    }

    @Test
    void selectorKeepsOneKeyInOneQueueInOrder() throws Exception {
        String topic = clients.topic(4);
        for (int i = 0; i < 40; i++) {
            int key = i % 8;
            SendResult result = clients.producer().send(Messages.of(topic, key + ":" + i),
                (queues, message, argument) -> queues.stream()
                    .filter(queue -> queue.getQueueId() == (Integer) argument % 4).findAny().orElseThrow(), key);
            assertEquals(key % 4, result.getMessageQueue().getQueueId());
        }
        for (MessageQueue queue : clients.reader().queues(topic)) {
            List<MessageExt> stored = clients.reader().readQueue(queue, 10);
            List<String> expected = new ArrayList<>();
            for (int i = 0; i < 40; i++) {
                if (i % 4 == queue.getQueueId()) {
                    expected.add(i % 8 + ":" + i);
                }
            }
            assertEquals(expected, stored.stream().map(Messages::text).collect(Collectors.toList()));
        }
    }

    @Test
    void keysTagsFlagAndUserPropertiesComeBackUnchanged() throws Exception {
        String topic = clients.topic(1);
        Message message = new Message(topic, "TagA", "key1 key2", 0x12345678, "body".getBytes(StandardCharsets.UTF_8), true);
        message.putUserProperty("colour", "red");
        message.putUserProperty("a=b;c", "  spaces, = and \"quotes\"\n");
        message.setBuyerId("buyer");
        clients.producer().send(message);

        MessageExt stored = clients.reader().readAll(topic, 1).get(0);
        assertEquals(topic, stored.getTopic());
        assertEquals("TagA", stored.getTags());
        assertEquals("key1 key2", stored.getKeys());
        assertEquals(0x12345678, stored.getFlag());
        assertEquals("red", stored.getUserProperty("colour"));
        assertEquals("  spaces, = and \"quotes\"\n", stored.getUserProperty("a=b;c"));
        assertEquals("buyer", stored.getBuyerId());
        message.getProperties().forEach((name, value) -> assertEquals(value, stored.getProperty(name), name));
    }

    @Test
    void brokerAddsRegionTraceAndClusterProperties() throws Exception {
        String topic = clients.topic(1);
        clients.producer().send(Messages.of(topic, "plain"));
        MessageExt stored = clients.reader().readAll(topic, 1).get(0);
        assertEquals("DefaultRegion", stored.getProperty("MSG_REGION"));
        assertEquals("true", stored.getProperty("TRACE_ON"));
        assertTrue(stored.getProperty("CLUSTER") != null, "needed by request-reply: " + stored.getProperties());
    }

    @Test
    void unicodeComesBackAndFiltersByTag() throws Exception {
        String topic = clients.topic(1);
        String tag = "标签😀";
        Message message = Messages.tagged(topic, tag, "тело \u0000 ﷽ 𝄞 消息");
        message.putUserProperty("ключ", "значение-値-🦀");
        message.setKeys("schlüssel");
        clients.producer().send(Messages.tagged(topic, "other", "in front"));
        clients.producer().send(message);

        MessageQueue queue = clients.reader().queues(topic).get(0);
        clients.reader().awaitMaxOffset(queue, 2);
        PullResult result = clients.reader().consumer.pull(queue, tag, 0, 32);
        assertEquals(PullStatus.FOUND, result.getPullStatus());
        assertEquals(1, result.getMsgFoundList().size());
        MessageExt stored = result.getMsgFoundList().get(0);
        assertEquals(1, stored.getQueueOffset());
        assertEquals("тело \u0000 ﷽ 𝄞 消息", Messages.text(stored));
        assertEquals(tag, stored.getTags());
        assertEquals("schlüssel", stored.getKeys());
        assertEquals("значение-値-🦀", stored.getUserProperty("ключ"));
    }

    @Test
    void compressedBodiesComeBackIdentical() throws Exception {
        String topic = clients.topic(1);
        List<byte[]> bodies = new ArrayList<>();
        // The client compresses from 4 KiB on.
        for (int sizeBytes : new int[] {4096, 5000, 100_000, 1 << 20}) {
            byte[] body = new byte[sizeBytes];
            for (int i = 0; i < sizeBytes; i++) {
                body[i] = (byte) ("abcdefgh".charAt(i % 8) + i / 4096 % 16);
            }
            bodies.add(body);
            clients.producer().send(new Message(topic, body));
        }
        List<MessageExt> stored = clients.reader().readAll(topic, bodies.size());
        for (int i = 0; i < stored.size(); i++) {
            assertArrayEquals(bodies.get(i), stored.get(i).getBody());
            assertTrue(stored.get(i).getStoreSize() < bodies.get(i).length / 2, "stored compressed");
        }
    }

    private static void assertIsWhatWasAcknowledged(SendResult result, MessageExt stored) {
        assertEquals(result.getMsgId(), stored.getMsgId());
        assertEquals(result.getOffsetMsgId(), ((MessageClientExt) stored).getOffsetMsgId());
        assertEquals(result.getQueueOffset(), stored.getQueueOffset());
        assertEquals(result.getMessageQueue().getQueueId(), stored.getQueueId());
    }

    private static SendCallback completing(CompletableFuture<SendResult> answer) {
        return new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
                answer.complete(result);
            }

            @Override
            public void onException(Throwable cause) {
                answer.completeExceptionally(cause);
            }
        };
    }

    private static String place(int queueId, long queueOffset) {
        return queueId + "@" + queueOffset;
    }

    private static List<String> sortedTexts(Collection<MessageExt> messages) {
        return messages.stream().map(Messages::text).sorted().collect(Collectors.toList());
    }
}
