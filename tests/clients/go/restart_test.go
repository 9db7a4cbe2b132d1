package clients

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func TestNothingIsLostWhenTheServerStopsUnderLoad(t *testing.T) {
	checkRestart(t, "stop")
}

func TestNothingIsLostWhenTheServerIsKilledUnderLoad(t *testing.T) {
	checkRestart(t, "kill")
}

// serverCommand asks tests/clients/server to do something to the server under test.
func serverCommand(command string) ([]byte, error) {
	return exec.Command(os.Getenv("SERVER"), command, os.Getenv("SERVER_FOLDER")).CombinedOutput()
}

func control(t *testing.T, command string) {
	t.Helper()
	if output, err := serverCommand(command); err != nil {
		t.Fatalf("%s: %v: %s", command, err, output)
	}
}

func checkRestart(t *testing.T, end string) {
	if os.Getenv("SERVER") == "" {
		t.Skip("not a server that a test may end, SERVER is not set")
	}
	queues := newTopic(t, 4)
	topic := queues[0].Topic
	var inbox inbox
	consume(t, name("group"), topic, inbox.accept)

	// The offset of every acknowledged message. Sends without an answer may be stored or not.
	acknowledged := make([]map[int64]string, len(queues))
	var count atomic.Int64
	var ended atomic.Bool
	var senders sync.WaitGroup
	for id := range queues {
		queue, to, seen := queues[id], newProducer(t, producer.WithSendMsgTimeout(2*time.Second), producer.WithRetry(0)), make(map[int64]string)
		acknowledged[id] = seen
		senders.Add(1)
		go func() {
			defer senders.Done()
			for i := 0; !ended.Load(); i++ {
				text := fmt.Sprintf("queue%d-%07d", queue.QueueId, i)
				message := primitive.NewMessage(topic, []byte(text))
				message.Queue = queue
				result, err := to.SendSync(background, message)
				if err != nil || result.Status != primitive.SendOK {
					time.Sleep(50 * time.Millisecond)
					continue
				}
				seen[result.QueueOffset] = text
				count.Add(1)
			}
		}()
	}
	awaitMore := func() {
		enough := count.Load() + 500
		await(t, "500 more messages acknowledged", func() bool { return count.Load() >= enough })
	}
	awaitMore()
	control(t, end)
	control(t, "start")
	awaitMore()
	ended.Store(true)
	senders.Wait()

	reader := newReader(t, topic)
	var all []string
	for id, queue := range queues {
		last := ""
		for _, message := range readQueue(t, reader, queue, len(acknowledged[id])) {
			text := string(message.Body)
			all = append(all, text)
			expected, known := acknowledged[id][message.QueueOffset]
			if !known {
				// A send without an answer may be stored late.
				continue
			}
			if expected != text {
				t.Fatalf("%v: offset %d was acknowledged for %s and has %s", queue, message.QueueOffset, expected, text)
			}
			// Sent after the answer to the one before.
			if text <= last {
				t.Fatalf("%v: %s stands behind %s", queue, text, last)
			}
			last = text
			delete(acknowledged[id], message.QueueOffset)
		}
		if len(acknowledged[id]) > 0 {
			t.Fatalf("%v: lost %v", queue, acknowledged[id])
		}
	}
	all = distinct(all)
	await(t, "all messages delivered", func() bool { return len(distinct(inbox.texts(""))) >= len(all) })
	equal(t, "delivered at least once", all, distinct(inbox.texts("")))
}
