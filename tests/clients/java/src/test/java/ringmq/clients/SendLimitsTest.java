package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.List;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.hook.SendMessageContext;
import org.apache.rocketmq.client.hook.SendMessageHook;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** The limits of the broker, seen by a client whose own limits are out of the way. */
@Tag("main")
class SendLimitsTest {
    private static final int BODY_BYTES_MAX = 4 * 1024 * 1024;
    private static final int MESSAGE_ILLEGAL = 13;
    private static final int INVALID_PARAMETER = 29;

    @RegisterExtension
    final Clients clients = new Clients();

    @Test
    void bodyOfOneByteIsStored() throws Exception {
        String topic = clients.topic(1);
        clients.producer().send(new Message(topic, new byte[] {0}));
        assertArrayEquals(new byte[] {0}, clients.reader().readAll(topic, 1).get(0).getBody());
    }

    @Test
    void bodyOfExactlyFourMebibytesIsStored() throws Exception {
        String topic = clients.topic(1);
        byte[] body = Payload.bytes(0, 4, BODY_BYTES_MAX);
        assertEquals(SendStatus.SEND_OK, unlimitedProducer().send(new Message(topic, body)).getSendStatus());
        assertArrayEquals(body, clients.reader().readAll(topic, 1).get(0).getBody());
    }

    @Test
    void bodyOneByteOverTheLimitIsRefused() throws Exception {
        String topic = clients.topic(1);
        Message message = new Message(topic, new byte[BODY_BYTES_MAX + 1]);
        assertRefused(MESSAGE_ILLEGAL, unlimitedProducer(), message);
        assertNothingWasStored(topic);
    }

    @Test
    void longPropertiesAreStored() throws Exception {
        String topic = clients.topic(1);
        Message message = Messages.of(topic, "long properties");
        message.putUserProperty("long", "x".repeat(32_000));
        clients.producer().send(message);
        MessageExt stored = clients.reader().readAll(topic, 1).get(0);
        assertEquals("x".repeat(32_000), stored.getUserProperty("long"));
    }

    @Test
    void propertiesOverTheLimitAreRefused() throws Exception {
        String topic = clients.topic(1);
        Message message = Messages.of(topic, "properties too long");
        message.putUserProperty("long", "x".repeat(32_768));
        assertRefused(MESSAGE_ILLEGAL, clients.producer(), message);
        assertNothingWasStored(topic);
    }

    @Test
    void illegalTopicIsRefusedByTheClient() {
        assertThrows(MQClientException.class, () -> clients.producer().send(Messages.of("illegal topic!", "x")));
    }

    @Test
    void illegalTopicIsRefusedByTheBroker() throws Exception {
        String topic = clients.topic(1);
        for (String illegal : List.of("illegal topic!", "a.b", "käse", "x".repeat(128))) {
            assertRefused(INVALID_PARAMETER, renamingProducer(illegal), Messages.of(topic, "renamed"));
        }
        assertNothingWasStored(topic);
    }

    @Test
    void queueThatDoesNotExistIsRefused() throws Exception {
        String topic = clients.topic(4);
        MessageQueue first = clients.reader().queues(topic).get(0);
        MessageQueue missing = new MessageQueue(topic, first.getBrokerName(), 4);
        MQBrokerException refusal = assertThrows(MQBrokerException.class,
            () -> clients.producer().send(Messages.of(topic, "nowhere"), missing));
        assertEquals(INVALID_PARAMETER, refusal.getResponseCode(), refusal.getMessage());
    }

    private DefaultMQProducer unlimitedProducer() throws MQClientException {
        DefaultMQProducer producer = clients.newProducer();
        producer.setMaxMessageSize(Integer.MAX_VALUE);
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        producer.start();
        return producer;
    }

    /** The client checks the topic before it runs the hooks, so a hook can still change it. */
    private DefaultMQProducer renamingProducer(String newName) throws MQClientException {
        DefaultMQProducer producer = clients.newProducer();
        producer.getDefaultMQProducerImpl().registerSendMessageHook(new SendMessageHook() {
            @Override
            public String hookName() {
                return "rename";
            }

            @Override
            public void sendMessageBefore(SendMessageContext context) {
                context.getMessage().setTopic(newName);
            }

            @Override
            public void sendMessageAfter(SendMessageContext context) {
            }
        });
        producer.start();
        return producer;
    }

    private static void assertRefused(int code, DefaultMQProducer producer, Message message) {
        MQBrokerException refusal = assertThrows(MQBrokerException.class, () -> producer.send(message));
        assertEquals(code, refusal.getResponseCode(), refusal.getMessage());
    }

    /** Offset 0 is still free. */
    private void assertNothingWasStored(String topic) throws Exception {
        assertEquals(0, clients.producer().send(Messages.of(topic, "first")).getQueueOffset());
    }
}
