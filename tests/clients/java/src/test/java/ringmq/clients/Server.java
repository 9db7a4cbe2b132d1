package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;

/** The server under test, where a test may end it: {@code ../server} by the properties server and server.folder. */
final class Server {
    static final boolean IS_APACHE = "apache".equals(System.getProperty("server.kind"));

    private Server() {
    }

    static void control(String command) throws Exception {
        int exitCode = new ProcessBuilder(System.getProperty("server"), command, System.getProperty("server.folder"))
            .inheritIO().start().waitFor();
        assertEquals(0, exitCode, command);
    }

    /** Consumers commit oneway: in the log within 500 ms, with Apache in a file every 5 s (flushConsumerOffsetInterval). */
    static void awaitCommitsOnDisk() throws InterruptedException {
        Thread.sleep(IS_APACHE ? 6_000 : 1_500);
    }

    /** kill -9, and what is left of it goes on; returns when clients can use it. */
    static void killAndStart() throws Exception {
        control("kill");
        control("start");
    }
}
