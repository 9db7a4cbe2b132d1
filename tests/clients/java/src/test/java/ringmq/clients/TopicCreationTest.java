package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.List;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

@Tag("main")
class TopicCreationTest {
    @RegisterExtension
    final Clients clients = new Clients();

    @Test
    void sendToAnUnknownTopicCreatesItWithFourQueues() throws Exception {
        String topic = Clients.name("auto");
        for (String text : Messages.numbered("auto", 8)) {
            assertEquals(SendStatus.SEND_OK, clients.producer().send(Messages.of(topic, text)).getSendStatus());
        }
        List<MessageQueue> queues = clients.reader().awaitQueues(topic, 4);
        assertEquals(List.of(0, 1, 2, 3), queues.stream().map(MessageQueue::getQueueId).collect(Collectors.toList()));
        assertEquals(Messages.numbered("auto", 8),
            clients.reader().readAll(topic, 8).stream().map(Messages::text).sorted().collect(Collectors.toList()));
    }

    @Test
    void createdTopicHasTheWantedQueues() throws Exception {
        String topic = Clients.name("created");
        ClientVersion.createTopic(clients.producer(), "TBW102", topic, 7);
        clients.reader().awaitQueues(topic, 7);
        assertEquals(7, clients.producer().fetchPublishMessageQueues(topic).size());
        for (MessageQueue queue : clients.reader().queues(topic)) {
            assertEquals(0, clients.reader().consumer.minOffset(queue));
            assertEquals(0, clients.reader().consumer.maxOffset(queue));
        }
    }

    @Test
    void createdTopicCanGrow() throws Exception {
        String topic = clients.topic(2);
        clients.producer().send(Messages.of(topic, "kept"));
        ClientVersion.createTopic(clients.producer(), "TBW102", topic, 6);
        clients.reader().awaitQueues(topic, 6);
        assertEquals("kept", Messages.text(clients.reader().readAll(topic, 1).get(0)));
    }

    @Test
    void unknownTopicHasNoRoute() {
        assertThrows(MQClientException.class,
            () -> clients.reader().consumer.fetchSubscribeMessageQueues(Clients.name("unknown")));
    }
}
