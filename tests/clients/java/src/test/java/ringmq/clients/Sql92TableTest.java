package ringmq.clients;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.filter.expression.BooleanExpression;
import org.apache.rocketmq.filter.expression.EvaluationContext;
import org.apache.rocketmq.filter.expression.MQFilterException;
import org.apache.rocketmq.filter.parser.SelectorParser;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/**
 * Apache's own rocketmq-filter 5.3.3 on the table that RingMQ's is compared with, too. It asks no server: it proves that the
 * third column of the table is Apache's word.
 */
@Tag("main")
class Sql92TableTest {
    static final Path TABLE = Path.of("../../golden/sql92.tsv");

    @Test
    void apacheSaysWhatTheTableSays() throws IOException {
        List<String> wrong = new ArrayList<>();
        int rows = 0;
        for (String line : Files.readAllLines(TABLE)) {
            if (line.isEmpty() || line.startsWith("#")) {
                continue;
            }
            String[] columns = line.split("\t", -1);
            assertTrue(columns.length == 3 || columns.length == 4, line);
            rows++;
            String found = outcome(columns[0], columns[1]);
            if (!found.equals(columns[2])) {
                wrong.add(line + ": " + found);
            }
        }
        assertEquals(List.of(), wrong);
        assertTrue(rows >= 150, rows + " rows");
    }

    /** true, false, null, throws or refused. */
    static String outcome(String expression, String properties) {
        BooleanExpression compiled;
        try {
            compiled = SelectorParser.parse(unescaped(expression));
        } catch (MQFilterException e) {
            return "refused";
        }
        try {
            return String.valueOf(compiled.evaluate(context(properties)));
        } catch (Throwable e) {
            return "throws";
        }
    }

    private static EvaluationContext context(String column) {
        StringBuilder text = new StringBuilder();
        for (String pair : column.split(";")) {
            int middle = pair.indexOf('=');
            if (middle > 0) {
                text.append(pair, 0, middle).append('\u0001').append(unescaped(pair.substring(middle + 1))).append('\u0002');
            }
        }
        Map<String, String> properties = MessageDecoder.string2messageProperties(text.toString());
        return new EvaluationContext() {
            @Override
            public Object get(String name) {
                return properties.get(name);
            }

            @Override
            public Map<String, Object> keyValues() {
                return Map.copyOf(properties);
            }
        };
    }

    private static String unescaped(String text) {
        return text.replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r");
    }
}
