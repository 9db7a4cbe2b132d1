package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Queue;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.trace.TraceType;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.api.parallel.Isolated;
import ringmq.clients.PendingOverKill.Feature;

/**
 * Every kind of message with something pending when the server is killed (kill -9). Pending times, transactions and the life
 * of topics and groups: {@link KilledTimersTest} and {@code KilledServerAdminTest}. Needs a server that a test may end.
 */
@Tag("main")
@Isolated
@EnabledIfSystemProperty(named = "server", matches = ".+", disabledReason = "not a server that a test may end")
class KilledServerTest {
    /** With %RETRY% or %DLQ% before it more than 127 bytes, where both sides can have that: Apache keeps no such dead letters. */
    private static final int LONG_NAME = ClientVersion.readsLongTopics() && !Server.IS_APACHE ? 200 : 100;

    @RegisterExtension
    final Clients clients = new Clients();

    @TestFactory
    Stream<DynamicTest> whatWasPendingGoesOn() throws Exception {
        return new PendingOverKill()
            .with("what failed comes back, and once more to the dead letters", new Retries(Clients.name("group")))
            .with("the same with a group whose retry topic has a long name", new Retries(Clients.name("g".repeat(LONG_NAME))))
            .with("order is kept", new Order())
            .with("subscriptions by SQL92 and by tag go on", new Filters())
            .with("messages are found by key, id and time", new Finding())
            .with("batches, compressed bodies and traces are whole", new BatchAndTrace())
            .with("requests are answered", new Requests())
            .with("broadcast goes on", new Broadcast())
            .with("a group goes on where it stopped", new Committed())
            .with("a topic that grew stays as it is", new GrownTopic())
            .run();
    }

    private final class Retries implements Feature {
        private final String group;
        private final List<SendResult> sent = new ArrayList<>();
        private final Queue<String> attempts = new ConcurrentLinkedQueue<>();
        private final Queue<MessageExt> seconds = new ConcurrentLinkedQueue<>();
        private String topic;

        Retries(String group) {
            this.group = group;
        }

        @Override
        public void before() throws Exception {
            topic = clients.topic(2);
            DefaultMQPushConsumer consumer = clients.newPushConsumer(group);
            consumer.setMaxReconsumeTimes(1);
            consumer.setConsumeMessageBatchMaxSize(1);
            consumer.subscribe(topic, "*");
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                MessageExt message = messages.get(0);
                attempts.add(Messages.text(message) + " " + message.getReconsumeTimes() + " " + message.getTopic());
                if (message.getReconsumeTimes() == 1) {
                    seconds.add(message);
                }
                // 20 s with ../server: longer than it takes to kill and start it.
                context.setDelayLevelWhenNextConsume(18);
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            });
            consumer.start();
            for (String text : Messages.numbered("fails", 4)) {
                sent.add(clients.producer().send(Messages.of(topic, text)));
            }
            Await.until("all failed once", attempts::size, size -> size >= 4);
            clients.reader().awaitCommitted(group, topic, 4);
            Server.awaitCommitsOnDisk();
            assertEquals(4, attempts.size(), "the second attempts are pending");
        }

        @Override
        public void after() throws Exception {
            Await.until("all failed twice", attempts::size, size -> size >= 8);
            Set<String> ids = sent.stream().map(SendResult::getOffsetMsgId).collect(Collectors.toSet());
            assertEquals(ids, seconds.stream().map(it -> it.getProperty("ORIGIN_MESSAGE_ID")).collect(Collectors.toSet()));
            clients.reader().awaitQueues("%DLQ%" + group, 1);
            List<MessageExt> dead = clients.reader().readAll("%DLQ%" + group, 4);
            assertEquals(Messages.numbered("fails", 4), texts(dead));
            List<String> expected = new ArrayList<>();
            for (MessageExt message : dead) {
                assertEquals(topic, message.getProperty("RETRY_TOPIC"));
                assertEquals(2, message.getReconsumeTimes());
                assertTrue(ids.contains(message.getProperty("ORIGIN_MESSAGE_ID")));
                expected.add(Messages.text(message) + " 0 " + topic);
                expected.add(Messages.text(message) + " 1 " + topic);
            }
            assertEquals(sorted(expected), sorted(attempts));
        }
    }

    private final class Order implements Feature {
        private static final int QUEUES = 4;
        private final Queue<MessageExt> received = new ConcurrentLinkedQueue<>();
        private final List<Message> sent = new ArrayList<>();
        private String topic;

        @Override
        public void before() throws Exception {
            topic = clients.topic(QUEUES);
            DefaultMQPushConsumer consumer = clients.newPushConsumer(Clients.name("group"));
            consumer.subscribe(topic, "*");
            consumer.setConsumeMessageBatchMaxSize(1);
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                received.addAll(messages);
                try {
                    // So that most are pending when the server is killed.
                    Thread.sleep(20);
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
                return ConsumeOrderlyStatus.SUCCESS;
            });
            consumer.start();
            sendRounds(500);
            Await.until("it consumes", received::size, size -> size >= 20);
        }

        @Override
        public void after() throws Exception {
            sendRounds(20);
            Await.until("all delivered", () -> received.stream().map(Messages::text).distinct().count(), count -> count == sent.size());
            for (int queue = 0; queue < QUEUES; queue++) {
                int id = queue;
                List<Long> offsets = received.stream().filter(it -> it.getQueueId() == id).map(MessageExt::getQueueOffset)
                    .collect(Collectors.toList());
                int steps = 0;
                for (int i = 1; i < offsets.size(); i++) {
                    assertTrue(offsets.get(i) <= offsets.get(i - 1) + 1, "queue " + id + " leaves out: " + offsets);
                    steps += offsets.get(i) == offsets.get(i - 1) + 1 ? 0 : 1;
                }
                assertTrue(steps <= 1, "queue " + id + " goes back once at the most: " + offsets);
            }
        }

        private void sendRounds(int count) throws Exception {
            for (int round = 0; round < count; round++) {
                for (MessageQueue queue : clients.reader().queues(topic)) {
                    Message message = Messages.of(topic, "order-" + sent.size());
                    Await.until("the server takes messages", () -> {
                        try {
                            clients.producer().send(message, queue);
                            return "";
                        } catch (Exception serverIsAway) {
                            return serverIsAway.toString();
                        }
                    }, String::isEmpty);
                    sent.add(message);
                }
            }
        }
    }

    /** What a group wants is told again by its members, to a server that knows nobody. */
    private final class Filters implements Feature {
        private final Inbox bySql = new Inbox();
        private final Inbox byTag = new Inbox();
        private final TreeSet<String> wantedBySql = new TreeSet<>();
        private final TreeSet<String> wantedByTag = new TreeSet<>();
        private String topic;

        @Override
        public void before() throws Exception {
            topic = clients.topic(4);
            DefaultMQPushConsumer consumer = clients.newPushConsumer(Clients.name("group"));
            consumer.subscribe(topic, MessageSelector.bySql("n BETWEEN 50 AND 149 AND half = 'even'"));
            consumer.registerMessageListener(bySql);
            consumer.start();
            clients.consume(Clients.name("group"), topic, "Tag1 || Tag3", byTag);
            send("before");
            awaitAll();
        }

        @Override
        public void after() throws Exception {
            send("after");
            awaitAll();
        }

        private void awaitAll() throws Exception {
            Await.until("all that SQL92 takes", () -> new TreeSet<>(bySql.bodies()), wantedBySql::equals);
            Await.until("all with the tags", () -> new TreeSet<>(byTag.bodies()), wantedByTag::equals);
        }

        private void send(String prefix) throws Exception {
            for (int i = 0; i < 200; i++) {
                Message message = Messages.tagged(topic, "Tag" + i % 5, String.format("%s-%05d", prefix, i));
                message.putUserProperty("n", String.valueOf(i));
                message.putUserProperty("half", i % 2 == 0 ? "even" : "odd");
                if (50 <= i && i <= 149 && i % 2 == 0) {
                    wantedBySql.add(Messages.text(message));
                }
                if (i % 5 == 1 || i % 5 == 3) {
                    wantedByTag.add(Messages.text(message));
                }
                clients.sendPatiently(message);
            }
        }
    }

    private final class Finding implements Feature {
        private final String key = Clients.name("key");
        private final List<SendResult> sent = new ArrayList<>();
        private String topic;

        @Override
        public void before() throws Exception {
            topic = clients.topic(3);
            for (String text : Messages.numbered("found", 20)) {
                Message message = Messages.of(topic, text);
                message.setKeys(key);
                sent.add(clients.producer().send(message));
            }
        }

        @Override
        public void after() throws Exception {
            List<MessageExt> found = Await.until("all by key", this::byKey, list -> list.size() == 20);
            assertEquals(Messages.numbered("found", 20), texts(found));
            for (int i = 0; i < sent.size(); i++) {
                String text = Messages.numbered("found", 20).get(i);
                assertEquals(text, Messages.text(clients.producer().viewMessage(topic, sent.get(i).getOffsetMsgId())));
                assertEquals(text, Messages.text(clients.producer().viewMessage(topic, sent.get(i).getMsgId())));
            }
            for (MessageExt message : found) {
                MessageQueue queue = clients.reader().queues(topic).get(message.getQueueId());
                long offset = clients.reader().consumer.searchOffset(queue, message.getStoreTimestamp());
                assertTrue(offset <= message.getQueueOffset(), "the first of that time");
                assertEquals(message.getStoreTimestamp(), clients.reader().readQueue(queue, 0).get((int) offset).getStoreTimestamp());
            }
        }

        private List<MessageExt> byKey() throws Exception {
            try {
                return clients.producer().queryMessage(topic, key, 32, 0, Long.MAX_VALUE).getMessageList();
            } catch (MQClientException noneYet) {
                return List.of();
            }
        }
    }

    private final class BatchAndTrace implements Feature {
        private final byte[] large = "compress me ".repeat(10_000).getBytes();
        private DefaultMQProducer producer;
        private String topic;
        private String id;

        @Override
        public void before() throws Exception {
            topic = clients.topic(1);
            producer = clients.newTracingProducer(null);
            producer.start();
            producer.send(Messages.numbered("batch", 10).stream().map(it -> Messages.of(topic, it)).collect(Collectors.toList()));
            id = producer.send(new Message(topic, large)).getMsgId();
            TraceTest.find(clients, TraceTest.TRACES, id, Set.of(TraceType.Pub));
        }

        @Override
        public void after() throws Exception {
            List<MessageExt> stored = clients.reader().readAll(topic, 11);
            assertEquals(Messages.numbered("batch", 10), texts(stored.subList(0, 10)));
            assertArrayEquals(large, stored.get(10).getBody());
            TraceTest.find(clients, TraceTest.TRACES, id, Set.of(TraceType.Pub));
            // Retried by the client until the server takes it; its trace says what came of it.
            Message message = Messages.of(topic, "after");
            SendResult again = Await.until("the server takes messages", () -> {
                try {
                    return producer.send(message);
                } catch (Exception serverIsAway) {
                    return null;
                }
            }, result -> result != null);
            TraceTest.find(clients, TraceTest.TRACES, again.getMsgId(), Set.of(TraceType.Pub));
        }
    }

    private final class Requests implements Feature {
        private DefaultMQProducer asker;
        private String topic;

        @Override
        public void before() throws Exception {
            topic = clients.topic(2);
            DefaultMQProducer replier = clients.newProducer();
            replier.start();
            clients.consume(Clients.name("answers"), topic, "*", (messages, context) -> {
                try {
                    for (MessageExt message : messages) {
                        replier.send(MessageUtil.createReplyMessage(message, (Messages.text(message) + " answered").getBytes()));
                    }
                    return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                } catch (Exception serverIsAway) {
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            });
            asker = clients.newProducer();
            // The server knows where to push an answer by the asker's heartbeats.
            asker.setHeartbeatBrokerInterval(1000);
            asker.start();
            assertEquals("before answered", ask("before").get(60, TimeUnit.SECONDS));
        }

        @Override
        public void after() throws Exception {
            Await.until("an answer", () -> {
                try {
                    return ask("after").get(10, TimeUnit.SECONDS);
                } catch (Exception notYet) {
                    return notYet.toString();
                }
            }, "after answered"::equals);
        }

        private CompletableFuture<String> ask(String text) throws Exception {
            CompletableFuture<String> answer = new CompletableFuture<>();
            asker.request(Messages.of(topic, text), new RequestCallback() {
                @Override
                public void onSuccess(Message message) {
                    answer.complete(Messages.text(message));
                }

                @Override
                public void onException(Throwable failure) {
                    answer.completeExceptionally(failure);
                }
            }, 9_000);
            return answer;
        }
    }

    private final class Broadcast implements Feature {
        private final List<Inbox> inboxes = List.of(new Inbox(), new Inbox());
        private String topic;

        @Override
        public void before() throws Exception {
            topic = clients.topic(3);
            String group = Clients.name("group");
            for (Inbox inbox : inboxes) {
                DefaultMQPushConsumer consumer = clients.newPushConsumer(group);
                ClientVersion.setBroadcasting(consumer);
                consumer.subscribe(topic, "*");
                consumer.registerMessageListener(inbox);
                consumer.start();
            }
            clients.send(topic, Messages.numbered("a", 30));
            for (Inbox inbox : inboxes) {
                inbox.awaitCount(30);
            }
        }

        @Override
        public void after() throws Exception {
            List<String> expected = new ArrayList<>(Messages.numbered("a", 30));
            for (String text : Messages.numbered("b", 30)) {
                clients.sendPatiently(Messages.of(topic, text));
                expected.add(text);
            }
            for (Inbox inbox : inboxes) {
                Await.until("all delivered", () -> new HashSet<>(inbox.bodies()).size(), size -> size == 60);
                assertEquals(expected, inbox.bodies());
            }
        }
    }

    private final class Committed implements Feature {
        private final String group = Clients.name("group");
        private String topic;

        @Override
        public void before() throws Exception {
            topic = clients.topic(3);
            Inbox inbox = new Inbox();
            DefaultMQPushConsumer consumer = clients.consume(group, topic, "*", inbox);
            clients.send(topic, Messages.numbered("before", 60));
            inbox.awaitCount(60);
            consumer.shutdown();
            clients.reader().awaitCommitted(group, topic, 60);
            clients.send(topic, Messages.numbered("pending", 30));
            Server.awaitCommitsOnDisk();
        }

        @Override
        public void after() throws Exception {
            assertEquals(60, clients.reader().committedSum(group, topic));
            Inbox inbox = new Inbox();
            clients.consume(group, topic, "*", inbox);
            inbox.awaitCount(30);
            assertEquals(Messages.numbered("pending", 30), inbox.bodies());
        }
    }

    private final class GrownTopic implements Feature {
        private String topic;

        @Override
        public void before() throws Exception {
            topic = clients.topic(2);
            ClientVersion.createTopic(clients.producer(), "TBW102", topic, 6);
            for (MessageQueue queue : clients.reader().awaitQueues(topic, 6)) {
                clients.producer().send(Messages.of(topic, "q" + queue.getQueueId()), queue);
            }
        }

        @Override
        public void after() throws Exception {
            for (MessageQueue queue : clients.reader().awaitQueues(topic, 6)) {
                assertEquals(1, clients.producer().send(Messages.of(topic, "more"), queue).getQueueOffset());
                assertEquals(List.of("q" + queue.getQueueId(), "more"),
                    clients.reader().readQueue(queue, 2).stream().map(Messages::text).collect(Collectors.toList()));
            }
        }
    }

    private static List<String> texts(List<MessageExt> messages) {
        return messages.stream().map(Messages::text).sorted().collect(Collectors.toList());
    }

    private static List<String> sorted(Iterable<String> texts) {
        List<String> sorted = new ArrayList<>();
        texts.forEach(sorted::add);
        sorted.sort(null);
        return sorted;
    }
}
