package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageClientExt;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;

/**
 * Messages that wait for a time of their own. Apache keeps times by the second and may be some of them late; early is nobody,
 * but for the second to which Apache cuts.
 */
@Tag("main")
@Execution(ExecutionMode.CONCURRENT)
class TimerTest {
    private static final int MESSAGE_ILLEGAL = 13;
    private static final boolean IS_APACHE = "apache".equals(System.getProperty("server.kind"));
    /** How much earlier than asked for a message may come. */
    private static final long EARLY_MS = IS_APACHE ? 1_000 : 0;

    @RegisterExtension
    final Clients clients = new Clients();

    @Test
    void delaysAndTimesOfAllThreeKindsAreKept() throws Exception {
        String topic = clients.topic(1);
        Map<String, Long> due = new TreeMap<>();
        send(topic, "seconds", due, 2_000, message -> ClientVersion.delaySeconds(message, 2));
        send(topic, "milliseconds", due, 4_500, message -> ClientVersion.delayMilliseconds(message, 4_500));
        send(topic, "time", due, 7_000, message -> ClientVersion.deliverAt(message, System.currentTimeMillis() + 7_000));
        List<MessageExt> came = clients.reader().readAll(topic, 3);
        assertEquals(List.of("seconds", "milliseconds", "time"), texts(came));
        for (MessageExt message : came) {
            long dueMs = due.get(Messages.text(message));
            assertTrue(message.getStoreTimestamp() >= dueMs - EARLY_MS, "early: " + (dueMs - message.getStoreTimestamp()));
            assertNotNull(message.getProperty("TIMER_OUT_MS"));
            assertNotNull(message.getProperty("TIMER_DEQUEUE_MS"));
            assertNotNull(message.getProperty("TIMER_ENQUEUE_MS"));
            assertEquals(topic, message.getProperty(MessageConst.PROPERTY_REAL_TOPIC));
            assertEquals("0", message.getProperty(MessageConst.PROPERTY_REAL_QUEUE_ID));
            assertEquals(topic, message.getTopic());
        }
    }

    @Test
    void messagesComeInTheOrderOfTheirTimes() throws Exception {
        String topic = clients.topic(1);
        long fromMs = System.currentTimeMillis() + 3_000;
        List<String> expected = Messages.numbered("late", 5);
        for (int index : new int[] {3, 0, 4, 2, 1}) {
            Message message = Messages.of(topic, expected.get(index));
            ClientVersion.deliverAt(message, fromMs + index * 2_000L);
            assertEquals(SendStatus.SEND_OK, clients.producer().send(message).getSendStatus());
        }
        assertEquals(expected, texts(clients.reader().readAll(topic, 5)));
    }

    @Test
    void aTimeInThePastIsDeliveredAtOnce() throws Exception {
        String topic = clients.topic(1);
        Message message = Messages.of(topic, "past");
        ClientVersion.deliverAt(message, System.currentTimeMillis() - 60_000);
        SendResult result = clients.producer().send(message);
        assertEquals(SendStatus.SEND_OK, result.getSendStatus());
        assertNull(ClientVersion.recallHandle(result));
        MessageExt came = clients.reader().readAll(topic, 1).get(0);
        assertEquals(result.getOffsetMsgId(), ((MessageClientExt) came).getOffsetMsgId());
        assertNull(came.getProperty("TIMER_OUT_MS"));
    }

    @Test
    void aTimeTooFarAwayIsIllegal() throws Exception {
        String topic = clients.topic(1);
        for (String[] property : new String[][] {
            {"TIMER_DELAY_SEC", "259201"},
            {"TIMER_DELAY_MS", "soon"},
            {"TIMER_DELIVER_MS", "9223372036854775807"},
        }) {
            Message message = Messages.of(topic, "never");
            MessageAccessor.putProperty(message, property[0], property[1]);
            MQBrokerException refused = assertThrows(MQBrokerException.class, () -> clients.producer().send(message));
            assertEquals(MESSAGE_ILLEGAL, refused.getResponseCode(), refused.getErrorMessage());
            assertEquals("timer message illegal, the delay time should not be bigger than the max delay 259200000ms; "
                + "or if set del msg, the delay time should be bigger than the current time", refused.getErrorMessage());
        }
    }

    @Test
    void aDelayLevelCountsMoreThanATime() throws Exception {
        String topic = clients.topic(1);
        Message message = Messages.of(topic, "level");
        ClientVersion.delaySeconds(message, 3_600);
        message.setDelayTimeLevel(1);
        clients.producer().send(message);
        MessageExt came = clients.reader().readAll(topic, 1).get(0);
        assertNull(came.getProperty("TIMER_DELAY_SEC"));
    }

    @Test
    void toolsSeeWhatWaits() throws Exception {
        String topic = clients.topic(2);
        Message message = Messages.of(topic, "waits");
        ClientVersion.delaySeconds(message, 60);
        SendResult result = clients.producer().send(message, new MessageQueue(topic, clients.reader().queues(topic).get(1).getBrokerName(), 1));
        assertEquals(1, result.getMessageQueue().getQueueId());
        MessageExt waits = null;
        for (MessageQueue queue : clients.reader().queues("rmq_sys_wheel_timer")) {
            long offset = clients.reader().consumer.minOffset(queue);
            long end = clients.reader().consumer.maxOffset(queue);
            while (offset < end) {
                PullResult pulled = clients.reader().consumer.pull(queue, "*", offset, 32);
                if (pulled.getMsgFoundList() != null) {
                    waits = pulled.getMsgFoundList().stream()
                        .filter(it -> topic.equals(it.getProperty(MessageConst.PROPERTY_REAL_TOPIC))).findAny().orElse(waits);
                }
                offset = pulled.getNextBeginOffset();
            }
        }
        assertNotNull(waits, "in rmq_sys_wheel_timer");
        assertEquals("1", waits.getProperty(MessageConst.PROPERTY_REAL_QUEUE_ID));
        assertEquals(result.getOffsetMsgId(), ((MessageClientExt) waits).getOffsetMsgId());
    }

    @Test
    void whatIsRecalledNeverComes() throws Exception {
        if (!ClientVersion.canRecall()) {
            return;
        }
        String topic = clients.topic(3);
        List<String> stays = new ArrayList<>();
        for (int number = 0; number < 9; number++) {
            Message message = Messages.of(topic, "recall-" + number);
            ClientVersion.delaySeconds(message, 6);
            SendResult result = clients.producer().send(message);
            String handle = ClientVersion.recallHandle(result);
            assertNotNull(handle);
            if (number % 3 == 0) {
                assertEquals(result.getMsgId(), ClientVersion.recall(clients.producer(), topic, handle));
            } else {
                stays.add("recall-" + number);
            }
        }
        List<String> came = texts(clients.reader().readAll(topic, 6)).stream().sorted().collect(Collectors.toList());
        assertEquals(stays, came);
        Thread.sleep(2_000);
        assertEquals(6, clients.reader().readAll(topic, 6).size(), "and nothing else");
    }

    @Test
    void aBadHandleIsRefused() throws Exception {
        if (!ClientVersion.canRecall()) {
            return;
        }
        String topic = clients.topic(1);
        Message message = Messages.of(topic, "waits");
        ClientVersion.delaySeconds(message, 30);
        String handle = ClientVersion.recallHandle(clients.producer().send(message));
        assertFalse(handle.isEmpty());
        String other = clients.topic(1);
        Exception refused = assertThrows(Exception.class, () -> ClientVersion.recall(clients.producer(), other, handle));
        assertTrue(refused.getMessage().contains("topic not match"), refused.getMessage());
    }

    private interface Change {
        void apply(Message message) throws Exception;
    }

    private void send(String topic, String text, Map<String, Long> due, long delayMs, Change change) throws Exception {
        Message message = Messages.of(topic, text);
        change.apply(message);
        due.put(text, System.currentTimeMillis() + delayMs - 50);
        assertEquals(SendStatus.SEND_OK, clients.producer().send(message).getSendStatus());
    }

    private static List<String> texts(List<MessageExt> messages) {
        return messages.stream().map(Messages::text).collect(Collectors.toList());
    }
}
