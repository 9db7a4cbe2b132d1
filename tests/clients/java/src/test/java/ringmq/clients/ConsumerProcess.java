package ringmq.clients;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.message.MessageExt;

/** A push consumer in a process of its own, to be killed, and what it said that it had consumed. */
final class ConsumerProcess implements AutoCloseable {
    private static final String SAYS = "consumed ";

    private final Process process;
    private final Thread listening;
    private final Queue<Received> received = new ConcurrentLinkedQueue<>();

    enum Order { CONCURRENT, ORDERLY }

    ConsumerProcess(String group, String topic, Order order) throws IOException {
        // The class path of the tests: theirs is the one client version under test.
        process = new ProcessBuilder(ProcessHandle.current().info().command().orElse("java"), "-Xmx128m",
            "-Dnamesrv=" + System.getProperty("namesrv", "127.0.0.1:9876"),
            "-Drocketmq.log.root=" + System.getProperty("rocketmq.log.root"), "-Drocketmq.log.level=ERROR",
            "-Drocketmq.client.logRoot=" + System.getProperty("rocketmq.client.logRoot"),
            "-Drocketmq.client.logLevel=ERROR", "-cp", System.getProperty("java.class.path"),
            ConsumerProcess.class.getName(), group, topic, order.name())
            .redirectError(ProcessBuilder.Redirect.INHERIT).start();
        listening = new Thread(this::listen);
        listening.start();
    }

    /** SIGKILL: no offset is committed, no group left. Everything that it said has been read when this returns. */
    @Override
    public void close() throws InterruptedException {
        process.destroyForcibly().waitFor();
        listening.join();
    }

    List<Received> messages() {
        return List.copyOf(received);
    }

    private void listen() {
        try (BufferedReader lines = new BufferedReader(
            new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                if (line.startsWith(SAYS)) {
                    String[] words = line.substring(SAYS.length()).split(" ", 3);
                    received.add(new Received(Integer.parseInt(words[0]), Long.parseLong(words[1]), words[2]));
                }
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    public static void main(String[] args) throws Exception {
        // A start fails for good when the NameServer is not heard within 3 s, as on a machine that stands still.
        for (int left = 5; !isStarted(args, left); left--) {
            System.err.println("the consumer did not start, " + (left - 1) + " attempts left");
        }
        Thread.currentThread().join();
    }

    private static boolean isStarted(String[] args, int left) throws Exception {
        DefaultMQPushConsumer consumer = new Clients().newPushConsumer(args[0]);
        consumer.subscribe(args[1], "*");
        if (Order.valueOf(args[2]) == Order.ORDERLY) {
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                say(messages);
                return ConsumeOrderlyStatus.SUCCESS;
            });
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                say(messages);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        }
        try {
            consumer.start();
            return true;
        } catch (IllegalStateException e) {
            if (left == 1) {
                throw e;
            }
            return false;
        }
    }

    private static synchronized void say(List<MessageExt> messages) {
        for (MessageExt message : messages) {
            System.out.println(SAYS + message.getQueueId() + " " + message.getQueueOffset() + " " + Messages.text(message));
        }
        System.out.flush();
    }

    /** What a listener saw of a message. */
    static final class Received {
        final int queueId;
        final long queueOffset;
        final String text;

        Received(int queueId, long queueOffset, String text) {
            this.queueId = queueId;
            this.queueOffset = queueOffset;
            this.text = text;
        }

        static List<String> texts(List<Received> messages) {
            return messages.stream().map(message -> message.text).sorted().collect(Collectors.toList());
        }
    }
}
