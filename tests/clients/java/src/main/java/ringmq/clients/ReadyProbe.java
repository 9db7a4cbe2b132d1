package ringmq.clients;

import java.nio.file.Files;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Tells when a server that was away is back: prints {@code send EPOCH_MS} and {@code pull EPOCH_MS} for the first send and the
 * first pull of a message that succeed after one that failed. Runs until it is killed.
 */
public final class ReadyProbe {
    private static final int TIMEOUT_MS = 3000;
    private static final int PAUSE_MS = 5;

    private ReadyProbe() {
    }

    public static void main(String[] args) throws Exception {
        if (args.length != 2) {
            System.err.println("usage: ReadyProbe NAMESRV TOPIC");
            System.exit(2);
        }
        String folder = Files.createTempDirectory("ready-probe").toString();
        System.setProperty("rocketmq.log.root", folder);
        System.setProperty("rocketmq.log.level", "OFF");
        System.setProperty("rocketmq.client.logRoot", folder);
        System.setProperty("rocketmq.client.logLevel", "OFF");

        DefaultMQProducer producer = new DefaultMQProducer("ready_probe_producer");
        producer.setNamesrvAddr(args[0]);
        producer.setRetryTimesWhenSendFailed(0);
        producer.start();
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer("ready_probe_consumer");
        consumer.setNamesrvAddr(args[0]);
        consumer.start();
        List<MessageQueue> queues = producer.fetchPublishMessageQueues(args[1]);
        MessageQueue queue = queues.get(0);
        Message message = new Message(args[1], "ready?".getBytes());
        repeat("send", () -> {
            producer.send(message, queue, TIMEOUT_MS);
            return true;
        });
        repeat("pull", () -> consumer.pull(queue, "*", 0, 1, TIMEOUT_MS).getPullStatus() == PullStatus.FOUND);
        System.out.println("probing");
    }

    private static void repeat(String name, Callable<Boolean> call) {
        Thread thread = new Thread(() -> {
            boolean wasAway = false;
            while (true) {
                boolean isThere;
                try {
                    isThere = call.call();
                } catch (Exception serverIsAway) {
                    isThere = false;
                }
                if (isThere && wasAway) {
                    System.out.println(name + " " + System.currentTimeMillis());
                }
                wasAway = !isThere;
                pause();
            }
        });
        thread.start();
    }

    private static void pause() {
        try {
            TimeUnit.MILLISECONDS.sleep(PAUSE_MS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
