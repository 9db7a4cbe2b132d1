package clients

import (
	"bytes"
	"context"
	"fmt"
	"sort"
	"sync"
	"testing"

	"github.com/apache/rocketmq-client-go/v2/errors"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func TestSyncSendTellsWhereTheMessageIs(t *testing.T) {
	queues := newTopic(t, 4)
	to := newProducer(t)
	seen := make([][]string, 4)
	for _, text := range numbered("sync", 40) {
		result, err := to.SendSync(background, primitive.NewMessage(queues[0].Topic, []byte(text)))
		check(t, err)
		id := result.MessageQueue.QueueId
		if result.Status != primitive.SendOK || result.QueueOffset != int64(len(seen[id])) {
			t.Fatalf("queue %d has %d messages, the answer is %v", id, len(seen[id]), result)
		}
		seen[id] = append(seen[id], text)
	}
	reader := newReader(t, queues[0].Topic)
	for id, queue := range queues {
		equal(t, queue.String(), seen[id], textsOf(readQueue(t, reader, queue, len(seen[id]))))
	}
}

func TestPropertiesAndBodiesOfAllSizesComeBack(t *testing.T) {
	queue := newTopic(t, 1)[0]
	to := newProducer(t)
	// The client compresses bodies from 4096 bytes on.
	sizes := []int{1, 4095, 4096, 100_000, 1_000_000}
	for _, size := range sizes {
		message := primitive.NewMessage(queue.Topic, bytes.Repeat([]byte("r"), size))
		message.WithTag("TagA").WithKeys([]string{"one", "two"})
		message.WithProperty("colour", "red")
		_, err := to.SendSync(background, message)
		check(t, err)
	}
	for i, message := range readQueue(t, newReader(t, queue.Topic), queue, len(sizes)) {
		if !bytes.Equal(message.Body, bytes.Repeat([]byte("r"), sizes[i])) {
			t.Fatalf("body of %d bytes came back with %d", sizes[i], len(message.Body))
		}
		equal(t, "tags, keys, property", []string{"TagA", "one two", "red"},
			[]string{message.GetTags(), message.GetKeys(), message.GetProperty("colour")})
	}
}

// The client gives each 3 s, which a disk of a shared machine may take: another topic then.
func TestAsyncSendsAreAllAnswered(t *testing.T) {
	for left := 3; !asyncSendsAreAllAnswered(t); left-- {
		if left == 1 {
			t.Fatal("sends that took longer than 3 s, each time")
		}
	}
}

// asyncSendsAreAllAnswered is false if one of them timed out: it may be there or not.
func asyncSendsAreAllAnswered(t *testing.T) bool {
	queues := newTopic(t, 4)
	to := newProducer(t)
	texts := numbered("async", 200)
	var answers sync.WaitGroup
	var lock sync.Mutex
	seen := make([]map[int64]string, 4)
	for i := range seen {
		seen[i] = make(map[int64]string)
	}
	answers.Add(len(texts))
	isLate := false
	for _, one := range texts {
		text := one
		check(t, to.SendAsync(background, func(_ context.Context, result *primitive.SendResult, err error) {
			defer answers.Done()
			lock.Lock()
			defer lock.Unlock()
			if err == errors.ErrRequestTimeout {
				isLate = true
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			seen[result.MessageQueue.QueueId][result.QueueOffset] = text
		}, primitive.NewMessage(queues[0].Topic, []byte(text))))
	}
	answers.Wait()
	if isLate {
		return false
	}
	reader := newReader(t, queues[0].Topic)
	count := 0
	for id, queue := range queues {
		for _, message := range readQueue(t, reader, queue, len(seen[id])) {
			if seen[id][message.QueueOffset] != string(message.Body) {
				t.Fatalf("offset %d of %v has %q, acknowledged was %q", message.QueueOffset, queue, message.Body, seen[id][message.QueueOffset])
			}
			count++
		}
	}
	if count != len(texts) {
		t.Fatalf("%d of %d messages are there", count, len(texts))
	}
	return true
}

func TestOnewaySendsArrive(t *testing.T) {
	queue := newTopic(t, 1)[0]
	to := newProducer(t)
	texts := numbered("oneway", 100)
	for _, text := range texts {
		check(t, to.SendOneWay(background, primitive.NewMessage(queue.Topic, []byte(text))))
	}
	found := textsOf(readQueue(t, newReader(t, queue.Topic), queue, len(texts)))
	sort.Strings(found)
	equal(t, "oneway messages", texts, found)
}

func TestBatchIsStoredInItsOrder(t *testing.T) {
	queue := newTopic(t, 1)[0]
	to := newProducer(t)
	texts := numbered("batch", 60)
	for i := 0; i < len(texts); i += 20 {
		var batch []*primitive.Message
		for _, text := range texts[i : i+20] {
			batch = append(batch, primitive.NewMessage(queue.Topic, []byte(text)).WithTag("TagB"))
		}
		result, err := to.SendSync(background, batch...)
		check(t, err)
		if result.Status != primitive.SendOK || result.QueueOffset != int64(i) {
			t.Fatalf("batch at %d is answered with %v", i, result)
		}
	}
	messages := readQueue(t, newReader(t, queue.Topic), queue, len(texts))
	equal(t, "messages", texts, textsOf(messages))
	for _, message := range messages {
		if message.GetTags() != "TagB" {
			t.Fatalf("tag of a batched message is %q", message.GetTags())
		}
	}
}

func TestDelayedMessageComesAfterItsDelay(t *testing.T) {
	t.Parallel()
	queue := newTopic(t, 1)[0]
	to := newProducer(t)
	// Level 1 is 1 s, level 2 is 5 s: the later one is sent first.
	texts := map[int]string{1: "quick", 2: "slow"}
	for _, level := range []int{2, 1} {
		message := primitive.NewMessage(queue.Topic, []byte(texts[level])).WithDelayTimeLevel(level)
		_, err := to.SendSync(background, message)
		check(t, err)
	}
	messages := readQueue(t, newReader(t, queue.Topic), queue, 2)
	equal(t, "order of delivery", []string{"quick", "slow"}, textsOf(messages))
	for i, delayMs := range []int64{1000, 5000} {
		// The broker compares with its clock in steps.
		if waited := messages[i].StoreTimestamp - messages[i].BornTimestamp; waited < delayMs-100 {
			t.Fatalf("delivered after %d of %d ms", waited, delayMs)
		}
	}
}

func TestMessagesOfOneShardingKeyKeepTheirOrder(t *testing.T) {
	queues := newTopic(t, 8)
	to := newProducer(t, producer.WithQueueSelector(producer.NewHashQueueSelector()))
	queueOf := make(map[string]int)
	expected := make([][]string, len(queues))
	for step := 0; step < 20; step++ {
		for order := 0; order < 10; order++ {
			key := fmt.Sprint("order-", order)
			text := fmt.Sprintf("%s step %d", key, step)
			result, err := to.SendSync(background, primitive.NewMessage(queues[0].Topic, []byte(text)).WithShardingKey(key))
			check(t, err)
			id := result.MessageQueue.QueueId
			if first, known := queueOf[key]; known && first != id {
				t.Fatalf("%s went to queues %d and %d", key, first, id)
			}
			queueOf[key] = id
			expected[id] = append(expected[id], text)
		}
	}
	reader := newReader(t, queues[0].Topic)
	for id, queue := range queues {
		equal(t, queue.String(), expected[id], textsOf(readQueue(t, reader, queue, len(expected[id]))))
	}
}
