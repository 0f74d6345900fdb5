// franz-go, as its users write it, with the newest versions that it speaks. The words are those of
// ../../README.md; `member` and `consume` take a further word, `consumer`, for KIP-848's protocol.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func number(word string) int { return must(strconv.Atoi(word)) }

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func client(broker string, options ...kgo.Opt) *kgo.Client {
	return must(kgo.NewClient(append(options, kgo.SeedBrokers(broker))...))
}

func numbered(topic string, n int) *kgo.Record {
	text := strconv.Itoa(n)
	headers := []kgo.RecordHeader{{Key: "origin", Value: []byte("franz-go")}, {Key: "n", Value: []byte(text)}}
	return &kgo.Record{Topic: topic, Key: []byte("k" + text), Value: []byte("franz-go-" + text), Headers: headers}
}

func produce(ctx context.Context, broker, topic string, count int, names string) {
	n := 0
	for _, name := range strings.Split(names, ",") {
		// Small batches are left as they are unless they are worth it: a linger makes them worth it.
		producer := client(broker, kgo.ProducerBatchCompression(codecs[name]), kgo.ProducerLinger(20*time.Millisecond))
		var records []*kgo.Record
		for end := n + count; n < end; n++ {
			records = append(records, numbered(topic, n))
		}
		check(producer.ProduceSync(ctx, records...).FirstErr())
		producer.Close()
	}
}

func show(record *kgo.Record) {
	headers := map[string]string{}
	for _, header := range record.Headers {
		headers[header.Key] = string(header.Value)
	}
	fmt.Println(string(must(json.Marshal(map[string]any{
		"key": string(record.Key), "value": string(record.Value), "headers": headers,
		"partition": record.Partition, "offset": record.Offset,
	}))))
}

func groupOptions(group, topic string, protocol []string) []kgo.Opt {
	options := []kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(6 * time.Second), kgo.HeartbeatInterval(300 * time.Millisecond), kgo.DisableAutoCommit(),
		kgo.FetchMaxWait(200 * time.Millisecond),
	}
	if slices.Contains(protocol, "consumer") {
		options = append(options, kgo.Balancers(kgo.StickyBalancer()), kgo.ServerSideBalancer())
	}
	return options
}

func consume(ctx context.Context, broker, topic string, count int, group, isolation string, protocol []string) {
	options := groupOptions(group, topic, protocol)
	if isolation == "read_committed" {
		options = append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	consumer := client(broker, options...)
	for seen := 0; seen < count; {
		fetches := consumer.PollRecords(ctx, count-seen)
		check(fetches.Err())
		fetches.EachRecord(func(record *kgo.Record) { show(record); seen++ })
		check(consumer.CommitRecords(ctx, fetches.Records()...))
	}
	consumer.Close()
}

func member(ctx context.Context, broker, topic, group string, protocol []string) {
	has := map[int32]bool{}
	say := func(partitions map[string][]int32, have bool) {
		for _, partition := range partitions[topic] {
			has[partition] = have
		}
		list := []int32{}
		for partition, have := range has {
			if have {
				list = append(list, partition)
			}
		}
		slices.Sort(list)
		fmt.Println("assigned", string(must(json.Marshal(list))))
	}
	consumer := client(broker, append(groupOptions(group, topic, protocol),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { say(p, true) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { say(p, false) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { say(p, false) }),
	)...)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	for ctx.Err() == nil {
		fetches := consumer.PollFetches(ctx)
		fetches.EachRecord(func(record *kgo.Record) {
			fmt.Println("read", record.Partition, record.Offset)
			if err := consumer.CommitRecords(ctx, record); err != nil {
				log.Print(err)
			}
		})
		consumer.AllowRebalance()
	}
	consumer.CloseAllowingRebalance()
}

func transactions(ctx context.Context, broker, topic string, txns, per int) {
	producer := client(broker, kgo.TransactionalID("e2e-franz-go"), kgo.DefaultProduceTopic(topic))
	for t := range txns {
		fate, end := "commit", kgo.TryCommit
		if t%2 == 1 {
			fate, end = "abort", kgo.TryAbort
		}
		check(producer.BeginTransaction())
		for i := range per {
			value := fmt.Sprintf("%s-%d-%d", fate, t, i)
			check(producer.ProduceSync(ctx, kgo.KeySliceRecord([]byte(fmt.Sprintf("k%d", i)), []byte(value))).FirstErr())
		}
		check(producer.Flush(ctx))
		check(producer.EndTransaction(ctx, end))
	}
	producer.Close()
}

func copyRecords(ctx context.Context, broker, from, to string, count int, group string, protocol []string) {
	options := append(groupOptions(group, from, protocol),
		kgo.SeedBrokers(broker), kgo.TransactionalID("copy-"+group), kgo.DefaultProduceTopic(to),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	session := must(kgo.NewGroupTransactSession(options...))
	for copied, turn := 0, 1; copied < count; turn++ {
		fetches := session.PollRecords(ctx, 50)
		check(fetches.Err())
		check(session.Begin())
		some := 0
		fetches.EachRecord(func(record *kgo.Record) {
			some++
			session.Produce(ctx, kgo.KeySliceRecord(record.Key, bytes.ToUpper(record.Value)), nil)
		})
		// A session that aborts goes back to the offsets that are committed.
		committed := must(session.End(ctx, turn%3 != 0))
		if committed {
			copied += some
		}
	}
	session.Close()
}

// Offsets by partition of three.
func list(offset func(partition int32) (int64, bool)) (offsets []int64) {
	for partition := range int32(3) {
		if at, ok := offset(partition); ok {
			offsets = append(offsets, at)
		}
	}
	return offsets
}

func listed(topic string, offsets kadm.ListedOffsets, err error) []int64 {
	check(err)
	return list(func(p int32) (int64, bool) { o, ok := offsets.Lookup(topic, p); return o.Offset, ok && o.Err == nil })
}

func admin(ctx context.Context, broker, topic, group string) {
	connection := client(broker)
	admin := kadm.NewClient(connection)
	told := map[string]any{}
	hour := "3600000"
	created := must(admin.CreateTopic(ctx, 2, 1, map[string]*string{"retention.ms": &hour}, topic))
	told["created"] = []any{created.NumPartitions, created.ReplicationFactor}
	_, err := admin.CreateTopic(ctx, 2, 1, nil, topic)
	told["again"] = strings.SplitN(err.Error(), ":", 2)[0]
	check(must(admin.UpdatePartitions(ctx, 3, topic)).Error())
	produce(ctx, broker, topic, 30, "none")
	consume(ctx, broker, topic, 30, group, "read_committed", nil)
	topics := must(admin.ListTopicsWithInternal(ctx))
	told["topics"] = topics.Names()
	told["partitions"] = topics[topic].Partitions.Numbers()
	told["ids_are_set"] = topics[topic].ID != kadm.TopicID{}
	ends, err := admin.ListEndOffsets(ctx, topic)
	told["ends"] = listed(topic, ends, err)
	for _, config := range must(must(admin.DescribeTopicConfigs(ctx, topic)).On(topic, nil)).Configs {
		if config.Key == "retention.ms" {
			told["retention"] = []string{config.MaybeValue(), config.Source.String()}
		}
	}
	brokers := must(admin.BrokerMetadata(ctx)).Brokers
	told["brokers"] = []string{fmt.Sprintf("%s:%d", brokers[0].Host, brokers[0].Port)}
	told["groups"] = must(admin.ListGroups(ctx)).Groups()
	described := must(must(admin.DescribeGroups(ctx, group)).On(group, nil))
	told["state"] = []string{described.State, described.ProtocolType}
	committed := func() []int64 {
		offsets := must(admin.FetchOffsets(ctx, group))
		return list(func(p int32) (int64, bool) { o, ok := offsets.Lookup(topic, p); return o.At, ok && o.Err == nil })
	}
	told["committed"] = committed()
	var set kadm.Offsets
	for partition := range int32(3) {
		set.AddOffset(topic, partition, int64(partition), -1)
	}
	check(admin.CommitAllOffsets(ctx, group, set))
	told["set"] = committed()
	lag := must(admin.Lag(ctx, group))[group]
	told["lag"] = lag.Lag.Total()
	var one kadm.TopicsSet
	one.Add(topic, 1)
	check(must(admin.DeleteOffsets(ctx, group, one)).Error())
	told["without_one"] = committed()
	var cut kadm.Offsets
	cut.AddOffset(topic, 0, 2, -1)
	check(must(admin.DeleteRecords(ctx, cut)).Error())
	starts, err := admin.ListStartOffsets(ctx, topic)
	told["cut"] = listed(topic, starts, err)
	_ = must(admin.DeleteGroup(ctx, group))
	told["groups_after"] = must(admin.ListGroups(ctx)).Groups()
	check(must(admin.DeleteTopics(ctx, topic)).Error())
	connection.Close()
	// Asked anew: a client keeps what it was told of topics for a while.
	connection = client(broker)
	told["topics_after"] = must(kadm.NewClient(connection).ListTopicsWithInternal(ctx)).Names()
	connection.Close()
	fmt.Println(string(must(json.Marshal(told))))
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	word, broker, args := os.Args[1], os.Args[2], os.Args[3:]
	switch word {
	case "produce":
		produce(ctx, broker, args[0], number(args[1]), args[2])
	case "consume":
		consume(ctx, broker, args[0], number(args[1]), args[2], args[3], args[4:])
	case "member":
		member(ctx, broker, args[0], args[1], args[2:])
	case "transactions":
		transactions(ctx, broker, args[0], number(args[1]), number(args[2]))
	case "copy":
		copyRecords(ctx, broker, args[0], args[1], number(args[2]), args[3], args[4:])
	case "admin":
		admin(ctx, broker, args[0], args[1])
	default:
		log.Fatal("no such word: ", word)
	}
}
