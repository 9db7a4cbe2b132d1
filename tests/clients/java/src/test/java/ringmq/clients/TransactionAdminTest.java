package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** What an operator does about half messages whose producers never knew. */
@Tag("main")
class TransactionAdminTest {
    @RegisterExtension
    final Clients clients = new Clients();

    @Test
    void whatWasGivenUpIsAskedForAgainWhenAnOperatorSaysSo() throws Exception {
        String topic = clients.topic(1);
        AtomicReference<LocalTransactionState> known = new AtomicReference<>(LocalTransactionState.UNKNOW);
        TransactionMQProducer producer = clients.newTransactor(Clients.name("transactor"));
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                return LocalTransactionState.UNKNOW;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return known.get();
            }
        });
        producer.start();
        SendResult sent = producer.sendMessageInTransaction(Messages.of(topic, "found"), null);
        Await.until("it is given up",
            () -> TransactionTest.givenUp(clients, sent.getMsgId()), found -> found != null);
        known.set(LocalTransactionState.COMMIT_MESSAGE);
        DefaultMQAdminExt admin = TopicAdminTest.started();
        try {
            Await.until("it is found by its key", () -> {
                try {
                    return admin.resumeCheckHalfMessage(TransactionTest.GIVEN_UP, sent.getMsgId());
                } catch (MQClientException notIndexedYet) {
                    return false;
                }
            }, resumed -> resumed);
            MessageExt committed = clients.reader().readAll(topic, 1).get(0);
            assertEquals("found", Messages.text(committed));
            assertEquals(sent.getMsgId(), committed.getMsgId());
            clients.producer().send(Messages.of(topic, "last"));
            assertEquals(List.of("found", "last"), clients.reader().readAll(topic, 2).stream()
                .map(Messages::text).collect(Collectors.toList()), "it comes once");
        } finally {
            admin.shutdown();
        }
    }
}
