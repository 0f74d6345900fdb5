// Apache Kafka's own log and its own cleaner, told what to do on standard input, a line a step; it answers
// each with a line. The clock stands where the line before has put it. See kafka.rs, which speaks to it.

import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.Delayed;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.server.util.Scheduler;
import org.apache.kafka.storage.internals.log.Cleaner;
import org.apache.kafka.storage.internals.log.LogCleanerManager;
import org.apache.kafka.storage.internals.log.LogConfig;
import org.apache.kafka.storage.internals.log.LogDirFailureChannel;
import org.apache.kafka.storage.internals.log.LogSegment;
import org.apache.kafka.storage.internals.log.LogStartOffsetIncrementReason;
import org.apache.kafka.storage.internals.log.LogToClean;
import org.apache.kafka.storage.internals.log.PreCleanStats;
import org.apache.kafka.storage.internals.log.ProducerStateManagerConfig;
import org.apache.kafka.storage.internals.log.SkimpyOffsetMap;
import org.apache.kafka.storage.internals.log.UnifiedLog;
import org.apache.kafka.storage.internals.utils.Throttler;
import org.apache.kafka.storage.log.metrics.BrokerTopicStats;

public class KafkasCleaner {
    /** Stands still until it is set. */
    static final class Clock implements Time {
        long now;

        @Override public long milliseconds() { return now; }
        @Override public long nanoseconds() { return now * 1_000_000; }
        @Override public void sleep(long ms) { now += ms; }
        @Override public void waitObject(Object on, Supplier<Boolean> condition, long deadlineMs) {
            throw new UnsupportedOperationException();
        }
    }

    /** Does nothing in the background: files that are to be unlinked later stay, under other names. */
    static final class Never implements Scheduler {
        @Override public void startup() { }
        @Override public void shutdown() { }
        @Override public ScheduledFuture<?> schedule(String name, Runnable task, long delayMs, long periodMs) {
            return NOTHING;
        }
        @Override public void resizeThreadPool(int newSize) { }
    }

    static final ScheduledFuture<?> NOTHING = new ScheduledFuture<Object>() {
        @Override public long getDelay(TimeUnit unit) { return 0; }
        @Override public int compareTo(Delayed other) { return 0; }
        @Override public boolean cancel(boolean interrupt) { return true; }
        @Override public boolean isCancelled() { return true; }
        @Override public boolean isDone() { return true; }
        @Override public Object get() { return null; }
        @Override public Object get(long timeout, TimeUnit unit) { return null; }
    };

    static final TopicPartition PARTITION = new TopicPartition("t", 0);

    final Clock clock = new Clock();
    final LogDirFailureChannel failures = new LogDirFailureChannel(1);
    final ConcurrentMap<TopicPartition, UnifiedLog> logs = new ConcurrentHashMap<>();
    File dir;
    Map<String, String> settings;
    int producerExpiration;
    LogCleanerManager manager;
    Cleaner cleaner;
    long start;

    UnifiedLog log() {
        return logs.get(PARTITION);
    }

    void load(boolean clean) throws Exception {
        UnifiedLog log = UnifiedLog.create(new File(dir, PARTITION.toString()), new LogConfig(settings), start, 0,
            new Never(), new BrokerTopicStats(), clock, 900_000,
            new ProducerStateManagerConfig(producerExpiration, false), 600_000, failures, clean,
            Optional.of(Uuid.ONE_UUID));
        log.updateHighWatermark(log.logEndOffset());
        logs.put(PARTITION, log);
    }

    String open(String[] words) throws Exception {
        dir = new File(words[2]);
        producerExpiration = Integer.parseInt(words[3]);
        settings = new HashMap<>();
        for (int i = 5; i < words.length; i++) {
            String[] pair = words[i].split("=", 2);
            settings.put(pair[0], pair[1]);
        }
        start = 0;
        load(true);
        manager = new LogCleanerManager(List.of(dir), logs, failures);
        cleaner = new Cleaner(0, new SkimpyOffsetMap(Integer.parseInt(words[4])), 1 << 16, 1 << 20, 0.9,
            new Throttler(Double.MAX_VALUE, 300, "cleaner-io", "bytes", clock), clock, partition -> { });
        return "opened";
    }

    String append(String[] words) throws Exception {
        MemoryRecords records = MemoryRecords.readableRecords(ByteBuffer.wrap(Base64.getDecoder().decode(words[2])));
        log().appendAsFollower(records, 0);
        log().updateHighWatermark(log().logEndOffset());
        return "end " + log().logEndOffset();
    }

    void deleteOld() throws Exception {
        // The age of an emptied segment is its file's, which knows nothing of our clock.
        for (LogSegment segment : log().logSegments()) {
            if (segment.size() == 0 && segment != log().activeSegment()) {
                segment.setLastModified(0);
            }
        }
        log().deleteOldSegments();
    }

    /** One round of what a cleaner thread does. */
    String clean() throws Exception {
        log().removeExpiredProducers(clock.now);
        deleteOld();
        Optional<LogToClean> due = manager.grabFilthiestCompactedLog(clock, new PreCleanStats());
        if (due.isEmpty()) {
            return "idle";
        }
        long end = cleaner.clean(due.get()).getKey();
        manager.doneCleaning(PARTITION, dir, end);
        deleteOld();
        return "cleaned " + due.get().firstDirtyOffset() + " " + end;
    }

    String trim(String[] words) {
        log().maybeIncrementLogStartOffset(Long.parseLong(words[2]), LogStartOffsetIncrementReason.ClientRecordDeletion);
        return "start " + log().logStartOffset();
    }

    String reopen(boolean clean) throws Exception {
        start = log().logStartOffset();
        if (clean) {
            log().close();
        } else {
            log().closeHandlers();
        }
        load(clean);
        return "end " + log().logEndOffset();
    }

    String close() {
        log().closeHandlers();
        log().removeLogMetrics();
        manager.removeMetrics();
        logs.clear();
        return "closed";
    }

    String step(String line) throws Exception {
        String[] words = line.split(" ");
        clock.now = Long.parseLong(words[1]);
        switch (words[0]) {
            case "open": return open(words);
            case "append": return append(words);
            case "clean": return clean();
            case "trim": return trim(words);
            case "restart": return reopen(true);
            case "crash": return reopen(false);
            case "close": return close();
            default: throw new IllegalArgumentException(line);
        }
    }

    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        PrintStream out = System.out;
        KafkasCleaner driver = new KafkasCleaner();
        String line;
        while ((line = in.readLine()) != null) {
            String answer;
            try {
                answer = driver.step(line);
            } catch (Throwable e) {
                e.printStackTrace();
                answer = "failed " + e;
            }
            out.println(answer);
            out.flush();
        }
    }
}
