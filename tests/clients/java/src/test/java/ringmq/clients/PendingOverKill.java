package ringmq.clients;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
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
    interface Feature {
        /** Leaves something pending. */
        void before() throws Exception;

        /** The server is back. */
        void after() throws Exception;
    }

    private final List<String> promises = new ArrayList<>();
    private final List<Feature> features = new ArrayList<>();

    PendingOverKill with(String promise, Feature feature) {
        promises.add(promise);
        features.add(feature);
        return this;
    }

    Stream<DynamicTest> run() throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(features.size());
        List<Future<?>> begun = new ArrayList<>();
        for (Feature feature : features) {
            begun.add(threads.submit(begin(feature)));
        }
        List<Future<?>> ended = new ArrayList<>();
        for (Future<?> one : begun) {
            // One that failed says so in its own test.
            ended.add(completed(one));
        }
        Server.killAndStart();
        for (int i = 0; i < features.size(); i++) {
            if (ended.get(i) == null) {
                ended.set(i, threads.submit(end(features.get(i))));
            }
        }
        threads.shutdown();
        List<DynamicTest> tests = new ArrayList<>();
        for (int i = 0; i < features.size(); i++) {
            Future<?> end = ended.get(i);
            tests.add(DynamicTest.dynamicTest(promises.get(i), () -> {
                try {
                    end.get();
                } catch (ExecutionException e) {
                    throw e.getCause();
                }
            }));
        }
        return tests.stream();
    }

    private static Callable<Void> begin(Feature feature) {
        return () -> {
            feature.before();
            return null;
        };
    }

    private static Callable<Void> end(Feature feature) {
        return () -> {
            feature.after();
            return null;
        };
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
