package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** An index may be made a moment after the message is stored: what is asked for is awaited. */
@Tag("main")
class QueryMessageTest {
    /** Response code NO_MESSAGE, which a client makes of an answer without messages. */
    private static final int NO_MESSAGE = 208;

    @RegisterExtension
    final Clients clients = new Clients();

    private String topic;
    private DefaultMQProducer producer;

    @BeforeEach
    void makeTopic() throws Exception {
        topic = clients.topic(4);
        producer = clients.producer();
    }

    @Test
    void messagesAreFoundByEachOfTheirKeys() throws Exception {
        List<SendResult> sent = send(6);
        for (int i = 0; i < 6; i++) {
            List<MessageExt> found = find("order-" + i, 32, 1);
            assertEquals(List.of(Messages.numbered("query", 6).get(i)), texts(found));
            assertEquals(sent.get(i).getMsgId(), found.get(0).getMsgId());
            assertEquals("order-" + i + " every", found.get(0).getKeys());
            assertEquals(sent.get(i).getQueueOffset(), found.get(0).getQueueOffset());
        }
        assertEquals(Messages.numbered("query", 6), texts(find("every", 32, 6)).stream().sorted().collect(Collectors.toList()));
    }

    /** By the time when they were stored: those of one ms in several shards are in any order, but always in the same. */
    @Test
    void theNewestAreFoundOldestFirst() throws Exception {
        send(6);
        List<MessageExt> all = find("every", 32, 6);
        for (int i = 1; i < all.size(); i++) {
            assertTrue(all.get(i - 1).getStoreTimestamp() <= all.get(i).getStoreTimestamp());
        }
        assertEquals(texts(all.subList(3, 6)), texts(find("every", 3, 3)));
    }

    @Test
    void aMessageIsFoundByItsUniqueKeyAndByItsOffsetId() throws Exception {
        for (SendResult result : send(5)) {
            MessageExt byId = producer.viewMessage(topic, result.getOffsetMsgId());
            assertEquals(result.getMsgId(), byId.getMsgId());
            assertEquals(result.getQueueOffset(), byId.getQueueOffset());
            MessageExt byKey = Await.until("its unique key is found",
                () -> view(result.getMsgId()), found -> found != null);
            assertEquals(Messages.text(byId), Messages.text(byKey));
            assertEquals(byId.getCommitLogOffset(), byKey.getCommitLogOffset());
        }
    }

    @Test
    void messagesOfABatchAreFoundByTheirKeys() throws Exception {
        List<Message> batch = new ArrayList<>();
        for (String text : Messages.numbered("batch", 5)) {
            Message message = Messages.of(topic, text);
            message.setKeys("key-" + text);
            batch.add(message);
        }
        producer.send(batch);
        for (String text : Messages.numbered("batch", 5)) {
            assertEquals(List.of(text), texts(find("key-" + text, 32, 1)));
        }
    }

    @Test
    void onlyMessagesOfTheTimeAreFound() throws Exception {
        send(3);
        List<MessageExt> found = find("every", 32, 3);
        long first = found.get(0).getStoreTimestamp();
        long last = found.get(2).getStoreTimestamp();
        assertEquals(3, producer.queryMessage(topic, "every", 32, first - 60_000, last + 60_000).getMessageList().size());
        assertNothing("every", last + 60_000, Long.MAX_VALUE);
        assertNothing("every", 0, first - 60_000);
        assertNothing("every", last + 60_000, first - 60_000);
    }

    @Test
    void whatIsNotThereIsNotFound() throws Exception {
        SendResult sent = send(1).get(0);
        find("every", 32, 1);
        assertNothing("nobody's", 0, Long.MAX_VALUE);
        // One of a place where no message begins: the digits at the end are the position.
        String id = sent.getOffsetMsgId();
        long behind = Long.parseLong(id.substring(id.length() - 16), 16) + (1L << 40);
        String nowhere = id.substring(0, id.length() - 16) + String.format("%016X", behind);
        Exception thrown = assertThrows(Exception.class, () -> {
            if (producer.viewMessage(topic, nowhere) == null) {
                throw new MQBrokerException(1, "the client of 5.3.3 gives null");
            }
        });
        assertTrue(thrown instanceof MQBrokerException || thrown instanceof MQClientException, thrown.toString());
    }

    @Test
    void aDelayedMessageIsFoundUnderItsTopicWhenItHasCome() throws Exception {
        Message message = Messages.of(topic, "delayed");
        message.setKeys("late");
        message.setDelayTimeLevel(1);
        producer.send(message);
        assertEquals(List.of("delayed"), texts(find("late", 32, 1)));
    }

    private List<SendResult> send(int count) throws Exception {
        List<SendResult> sent = new ArrayList<>();
        for (String text : Messages.numbered("query", count)) {
            Message message = Messages.of(topic, text);
            message.setKeys(List.of("order-" + sent.size(), "every"));
            sent.add(producer.send(message));
        }
        return sent;
    }

    /** What has a key, as soon as there are so many. */
    private List<MessageExt> find(String key, int countMax, int count) throws Exception {
        return Await.until(count + " messages have the key " + key, () -> query(key, countMax), found -> found.size() >= count);
    }

    private List<MessageExt> query(String key, int countMax) throws Exception {
        try {
            QueryResult result = producer.queryMessage(topic, key, countMax, 0, Long.MAX_VALUE);
            long newest = result.getMessageList().stream().mapToLong(MessageExt::getStoreTimestamp).max().orElse(0);
            assertTrue(result.getIndexLastUpdateTimestamp() >= newest, "the index is as old as what it finds");
            return result.getMessageList();
        } catch (MQClientException e) {
            assertEquals(NO_MESSAGE, e.getResponseCode(), e.toString());
            return List.of();
        }
    }

    private MessageExt view(String id) throws Exception {
        try {
            return producer.viewMessage(topic, id);
        } catch (MQClientException e) {
            return null;
        }
    }

    private void assertNothing(String key, long begin, long end) {
        MQClientException thrown =
            assertThrows(MQClientException.class, () -> producer.queryMessage(topic, key, 32, begin, end));
        assertEquals(NO_MESSAGE, thrown.getResponseCode());
    }

    private static List<String> texts(List<MessageExt> messages) {
        return messages.stream().map(Messages::text).collect(Collectors.toList());
    }
}
