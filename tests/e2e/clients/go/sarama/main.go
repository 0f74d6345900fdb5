// sarama, as its users write it, with an idempotent producer. The words are those of ../../README.md.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/IBM/sarama"
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

var codecs = map[string]sarama.CompressionCodec{
	"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
	"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
}

func config() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Net.MaxOpenRequests = 1
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Group.Session.Timeout = 6 * time.Second
	config.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	config.Consumer.MaxWaitTime = 200 * time.Millisecond
	return config
}

func produce(broker, topic string, count int, names string) {
	n := 0
	for _, name := range strings.Split(names, ",") {
		config := config()
		config.Producer.Compression = codecs[name]
		producer := must(sarama.NewSyncProducer([]string{broker}, config))
		var messages []*sarama.ProducerMessage
		for end := n + count; n < end; n++ {
			text := strconv.Itoa(n)
			headers := []sarama.RecordHeader{
				{Key: []byte("origin"), Value: []byte("sarama")}, {Key: []byte("n"), Value: []byte(text)},
			}
			key, value := sarama.StringEncoder("k"+text), sarama.StringEncoder("sarama-"+text)
			messages = append(messages, &sarama.ProducerMessage{Topic: topic, Key: key, Value: value, Headers: headers})
		}
		check(producer.SendMessages(messages))
		check(producer.Close())
	}
}

// What a member of a group does with its claims.
type handler struct {
	assigned func(sarama.ConsumerGroupSession)
	read     func(sarama.ConsumerGroupSession, *sarama.ConsumerMessage)
}

func (h handler) Setup(session sarama.ConsumerGroupSession) error   { h.assigned(session); return nil }
func (h handler) Cleanup(session sarama.ConsumerGroupSession) error { return nil }
func (h handler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			h.read(session, message)
		case <-session.Context().Done():
			return nil
		}
	}
}

func join(ctx context.Context, broker, topic, group string, config *sarama.Config, handler handler) {
	member := must(sarama.NewConsumerGroup([]string{broker}, group, config))
	for ctx.Err() == nil {
		if err := member.Consume(ctx, []string{topic}, handler); err != nil && ctx.Err() == nil {
			log.Print(err)
		}
	}
	check(member.Close())
}

func consume(ctx context.Context, broker, topic string, count int, group, isolation string) {
	config := config()
	if isolation == "read_committed" {
		config.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	ctx, done := context.WithCancel(ctx)
	var seen atomic.Int64
	lines := make(chan string, count)
	join(ctx, broker, topic, group, config, handler{
		assigned: func(sarama.ConsumerGroupSession) {},
		read: func(session sarama.ConsumerGroupSession, message *sarama.ConsumerMessage) {
			at := seen.Add(1)
			if at > int64(count) {
				return
			}
			headers := map[string]string{}
			for _, header := range message.Headers {
				headers[string(header.Key)] = string(header.Value)
			}
			lines <- string(must(json.Marshal(map[string]any{
				"key": string(message.Key), "value": string(message.Value), "headers": headers,
				"partition": message.Partition, "offset": message.Offset,
			})))
			session.MarkMessage(message, "")
			if at == int64(count) {
				done()
			}
		},
	})
	close(lines)
	for line := range lines {
		fmt.Println(line)
	}
}

func member(ctx context.Context, broker, topic, group string) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	config := config()
	config.Consumer.Offsets.AutoCommit.Enable = false
	join(ctx, broker, topic, group, config, handler{
		assigned: func(session sarama.ConsumerGroupSession) {
			has := append([]int32{}, session.Claims()[topic]...)
			slices.Sort(has)
			fmt.Println("assigned", string(must(json.Marshal(has))))
		},
		read: func(session sarama.ConsumerGroupSession, message *sarama.ConsumerMessage) {
			fmt.Println("read", message.Partition, message.Offset)
			session.MarkMessage(message, "")
			session.Commit()
		},
	})
}

func transactions(broker, topic string, txns, per int) {
	config := config()
	config.Producer.Transaction.ID = "e2e-sarama"
	producer := must(sarama.NewSyncProducer([]string{broker}, config))
	for t := range txns {
		fate, end := "commit", producer.CommitTxn
		if t%2 == 1 {
			fate, end = "abort", producer.AbortTxn
		}
		check(producer.BeginTxn())
		for i := range per {
			key, value := fmt.Sprintf("k%d", i), fmt.Sprintf("%s-%d-%d", fate, t, i)
			message := &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(key), Value: sarama.StringEncoder(value)}
			_, _, err := producer.SendMessage(message)
			check(err)
		}
		check(end())
	}
	check(producer.Close())
}

func copyRecords(ctx context.Context, broker, from, to string, count int, group string) {
	config := config()
	config.Producer.Transaction.ID = "copy-" + group
	producer := must(sarama.NewSyncProducer([]string{broker}, config))
	reading := *config
	reading.Consumer.Offsets.AutoCommit.Enable = false
	reading.Consumer.IsolationLevel = sarama.ReadCommitted
	ctx, done := context.WithCancel(ctx)
	copied, turn := 0, 0
	// One claim at a time: a transactional producer has one transaction.
	turns := make(chan struct{}, 1)
	join(ctx, broker, from, group, &reading, handler{
		assigned: func(sarama.ConsumerGroupSession) {},
		read: func(session sarama.ConsumerGroupSession, message *sarama.ConsumerMessage) {
			turns <- struct{}{}
			defer func() { <-turns }()
			loud := sarama.StringEncoder(strings.ToUpper(string(message.Value)))
			for {
				turn++
				check(producer.BeginTxn())
				_, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: to, Key: sarama.ByteEncoder(message.Key), Value: loud})
				check(err)
				check(producer.AddMessageToTxn(message, group, nil))
				if turn%3 != 0 {
					break
				}
				check(producer.AbortTxn())
			}
			check(producer.CommitTxn())
			if copied++; copied == count {
				done()
			}
		},
	})
	check(producer.Close())
}

func topicNames(admin sarama.ClusterAdmin) (names []string) {
	for name := range must(admin.ListTopics()) {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func admin(ctx context.Context, broker, topic, group string) {
	client := must(sarama.NewClient([]string{broker}, config()))
	admin := must(sarama.NewClusterAdminFromClient(client))
	told := map[string]any{}
	hour := "3600000"
	detail := &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: 1, ConfigEntries: map[string]*string{"retention.ms": &hour}}
	check(admin.CreateTopic(topic, detail, false))
	told["created"] = true
	told["again"] = admin.CreateTopic(topic, detail, false).Error()
	check(admin.CreatePartitions(topic, 3, nil, false))
	produce(broker, topic, 30, "none")
	consume(ctx, broker, topic, 30, group, "read_committed")
	told["topics"] = topicNames(admin)
	check(client.RefreshMetadata(topic))
	described := must(admin.DescribeTopics([]string{topic}))
	partitions := [][]any{}
	for _, partition := range described[0].Partitions {
		partitions = append(partitions, []any{partition.ID, partition.Leader, partition.Isr})
	}
	slices.SortFunc(partitions, func(a, b []any) int { return int(a[0].(int32) - b[0].(int32)) })
	told["partitions"] = partitions
	offsets := func(time int64) (offsets []int64) {
		for partition := range int32(3) {
			offsets = append(offsets, must(client.GetOffset(topic, partition, time)))
		}
		return offsets
	}
	told["ends"] = offsets(sarama.OffsetNewest)
	resource := sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{"retention.ms"}}
	for _, entry := range must(admin.DescribeConfig(resource)) {
		told["retention"] = []string{entry.Name, entry.Value}
	}
	brokers, controller, err := admin.DescribeCluster()
	check(err)
	told["brokers"] = []any{brokers[0].Addr(), controller}
	told["groups"] = must(admin.ListConsumerGroups())
	state := must(admin.DescribeConsumerGroups([]string{group}))[0]
	told["state"] = []any{state.State, state.ProtocolType, len(state.Members)}
	committed := []int64{}
	fetched := must(admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0, 1, 2}}))
	for partition := range int32(3) {
		committed = append(committed, fetched.GetBlock(topic, partition).Offset)
	}
	told["committed"] = committed
	check(admin.DeleteRecords(topic, map[int32]int64{0: 2}))
	told["cut"] = offsets(sarama.OffsetOldest)
	check(admin.DeleteConsumerGroupOffset(group, topic, 1))
	fetched = must(admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {1}}))
	told["forgotten"] = fetched.GetBlock(topic, 1).Offset
	check(admin.DeleteConsumerGroup(group))
	told["groups_after"] = must(admin.ListConsumerGroups())
	check(admin.DeleteTopic(topic))
	told["topics_after"] = topicNames(admin)
	check(admin.Close())
	fmt.Println(string(must(json.Marshal(told))))
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	word, broker, args := os.Args[1], os.Args[2], os.Args[3:]
	switch word {
	case "produce":
		produce(broker, args[0], number(args[1]), args[2])
	case "consume":
		consume(ctx, broker, args[0], number(args[1]), args[2], args[3])
	case "member":
		member(ctx, broker, args[0], args[1])
	case "transactions":
		transactions(broker, args[0], number(args[1]), number(args[2]))
	case "copy":
		copyRecords(ctx, broker, args[0], args[1], number(args[2]), args[3])
	case "admin":
		admin(ctx, broker, args[0], args[1])
	default:
		log.Fatal("no such word: ", word)
	}
}
