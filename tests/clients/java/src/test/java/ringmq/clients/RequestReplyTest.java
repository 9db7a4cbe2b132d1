package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.exception.RequestTimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** A producer asks by a message, a consumer answers by another one that comes back to the producer. */
@Tag("main")
class RequestReplyTest {
    @RegisterExtension
    final Clients clients = new Clients();

    /** Somebody who answers every request with its text and one word more. */
    private void answer(String topic) throws Exception {
        DefaultMQProducer replier = clients.newProducer();
        replier.start();
        clients.consume(Clients.name("answers"), topic, "*", (messages, context) -> {
            for (MessageExt message : messages) {
                try {
                    byte[] body = (Messages.text(message) + " answered").getBytes();
                    replier.send(MessageUtil.createReplyMessage(message, body));
                } catch (Exception failure) {
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
    }

    /**
     * With a callback: 5.3.3's request that waits ends as soon as the send was answered (RequestResponseFuture
     * .acquireCountDownLatch), with a timeout unless the reply was there before.
     */
    private static CompletableFuture<String> ask(DefaultMQProducer producer, String topic, String text) throws Exception {
        CompletableFuture<String> answer = new CompletableFuture<>();
        producer.request(Messages.of(topic, text), new RequestCallback() {
            @Override
            public void onSuccess(Message message) {
                answer.complete(new String(message.getBody()));
            }

            @Override
            public void onException(Throwable failure) {
                answer.completeExceptionally(failure);
            }
        }, 30_000);
        return answer;
    }

    @Test
    void eachRequestGetsItsAnswer() throws Exception {
        String topic = clients.topic(4);
        answer(topic);
        // Several requesters: each is another connection, and may be another core's.
        for (int requester = 0; requester < 4; requester++) {
            DefaultMQProducer producer = clients.newProducer();
            producer.start();
            for (String text : Messages.numbered("request" + requester, 4)) {
                assertEquals(text + " answered", ask(producer, topic, text).get(60, TimeUnit.SECONDS));
            }
        }
    }

    @Test
    void manyRequestsAtOnceGetTheirAnswers() throws Exception {
        String topic = clients.topic(4);
        answer(topic);
        Map<String, CompletableFuture<String>> answers = new LinkedHashMap<>();
        for (String text : Messages.numbered("many", 50)) {
            answers.put(text, ask(clients.producer(), topic, text));
        }
        for (Map.Entry<String, CompletableFuture<String>> answer : answers.entrySet()) {
            assertEquals(answer.getKey() + " answered", answer.getValue().get(60, TimeUnit.SECONDS));
        }
    }

    @Test
    void aRequestThatNobodyAnswersTimesOut() throws Exception {
        String topic = clients.topic(1);
        assertNotNull(assertThrows(RequestTimeoutException.class,
            () -> clients.producer().request(Messages.of(topic, "nobody"), 2_000)));
    }
}
