package ringmq.clients;

import java.nio.ByteBuffer;
import java.util.SplittableRandom;
import java.util.zip.CRC32;

/**
 * A message body that says which one it is and whether it is whole.
 *
 * <pre>
 *   i32 queue | i64 sequence | i32 crc32 of everything else | random bytes, the same ones for the same queue and sequence
 * </pre>
 */
final class Payload {
    static final int HEADER_BYTES = 16;
    private static final int CRC_AT = 12;

    final int queue;
    final long sequence;
    final boolean intact;

    private Payload(int queue, long sequence, boolean intact) {
        this.queue = queue;
        this.sequence = sequence;
        this.intact = intact;
    }

    static byte[] bytes(int queue, long sequence, int sizeBytes) {
        byte[] body = new byte[sizeBytes];
        ByteBuffer buffer = ByteBuffer.wrap(body);
        buffer.putInt(queue).putLong(sequence).putInt(0);
        SplittableRandom random = new SplittableRandom(sequence * 31 + queue);
        while (buffer.remaining() >= Long.BYTES) {
            buffer.putLong(random.nextLong());
        }
        while (buffer.hasRemaining()) {
            buffer.put((byte) random.nextInt());
        }
        buffer.putInt(CRC_AT, crcWithoutItself(body));
        return body;
    }

    static Payload parse(byte[] body) {
        if (body.length < HEADER_BYTES) {
            return new Payload(-1, -1, false);
        }
        ByteBuffer buffer = ByteBuffer.wrap(body);
        boolean intact = buffer.getInt(CRC_AT) == crcWithoutItself(body);
        return new Payload(buffer.getInt(0), buffer.getLong(4), intact);
    }

    static long crc(byte[] bytes) {
        CRC32 crc = new CRC32();
        crc.update(bytes);
        return crc.getValue();
    }

    private static int crcWithoutItself(byte[] body) {
        CRC32 crc = new CRC32();
        crc.update(body, 0, CRC_AT);
        crc.update(body, HEADER_BYTES, body.length - HEADER_BYTES);
        return (int) crc.getValue();
    }
}
