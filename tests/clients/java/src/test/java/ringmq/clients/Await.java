package ringmq.clients;

import static org.junit.jupiter.api.Assertions.fail;

import java.time.Duration;
import java.util.concurrent.Callable;
import java.util.function.Predicate;

/** Waits for a condition, never for a time. */
final class Await {
    /**
     * For anything a client brings about by its own timers. A consumer whose heartbeat was lost to its own lock pulls in vain
     * until the next one, 30 s later; a rebalance without a notification comes after 20 s.
     */
    static final Duration CLIENT = Duration.ofSeconds(90);

    private Await() {
    }

    static <T> T until(String promise, Callable<T> probe, Predicate<T> holds) throws Exception {
        return until(promise, CLIENT, probe, holds);
    }

    static <T> T until(String promise, Duration deadline, Callable<T> probe, Predicate<T> holds) throws Exception {
        long end = System.nanoTime() + deadline.toNanos();
        T seen = probe.call();
        while (!holds.test(seen)) {
            if (System.nanoTime() - end >= 0) {
                fail("not within " + deadline.toSeconds() + " s: " + promise + "; last seen: " + seen);
            }
            Thread.sleep(20);
            seen = probe.call();
        }
        return seen;
    }
}
