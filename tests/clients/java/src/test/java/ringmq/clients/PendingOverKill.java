package ringmq.clients;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;

/**
 * Features that have something pending when the server is killed: all begin beside each other, one kill -9 ends them all,
 * and each says as a test of its own whether it went on. One kill for all, since a restart and the clients' way back to the
 * server take longer than any of them.
 */
final class PendingOverKill {
    interface Step {
        void run() throws Exception;
    }

    private static final class Feature {
        final String promise;
        final Step before;
        final Step after;

        Feature(String promise, Step before, Step after) {
            this.promise = promise;
            this.before = before;
            this.after = after;
        }
    }

    private final List<Feature> features = new ArrayList<>();

    /** {@code before} leaves something pending, {@code after} runs when the server is back. */
    PendingOverKill with(String promise, Step before, Step after) {
        features.add(new Feature(promise, before, after));
        return this;
    }

    Stream<DynamicTest> run() throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(features.size());
        List<Future<?>> begun = new ArrayList<>();
        for (Feature feature : features) {
            begun.add(submit(threads, feature.before));
        }
        List<Future<?>> ended = new ArrayList<>();
        for (Future<?> one : begun) {
            // One that failed says so in its own test.
            ended.add(completed(one));
        }
        Server.killAndStart();
        for (int i = 0; i < features.size(); i++) {
            if (ended.get(i) == null) {
                ended.set(i, submit(threads, features.get(i).after));
            }
        }
        threads.shutdown();
        List<DynamicTest> tests = new ArrayList<>();
        for (int i = 0; i < features.size(); i++) {
            Future<?> end = ended.get(i);
            tests.add(DynamicTest.dynamicTest(features.get(i).promise, () -> {
                try {
                    end.get();
                } catch (ExecutionException e) {
                    throw e.getCause();
                }
            }));
        }
        return tests.stream();
    }

    private static Future<?> submit(ExecutorService threads, Step step) {
        return threads.submit(() -> {
            step.run();
            return null;
        });
    }

    /** null if it ended well, else what tells of the failure. */
    private static Future<?> completed(Future<?> step) throws InterruptedException {
        try {
            step.get();
            return null;
        } catch (ExecutionException e) {
            return CompletableFuture.failedFuture(e.getCause());
        }
    }
}
