// Package clients tests a running server through Apache's own Go client. See ../README.md.
package clients

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

// A test that kills a consumer needs it in a process of its own: this program again, with these in its environment.
const (
	childGroup = "CHILD_GROUP"
	childTopic = "CHILD_TOPIC"
	childOrder = "CHILD_ORDER"
)

func TestMain(m *testing.M) {
	rlog.SetLogLevel("fatal")
	// After it told of an asynchronous send that timed out, the client goes on with its missing answer.
	primitive.PanicHandler = func(reason interface{}) {
		fmt.Fprintln(os.Stderr, "the client panicked:", reason)
	}
	if group := os.Getenv(childGroup); group != "" {
		consumeUntilKilled(group, os.Getenv(childTopic), os.Getenv(childOrder) != "")
	}
	os.Exit(m.Run())
}

// consumeUntilKilled prints a line "queue offset body" per message that it is done with.
func consumeUntilKilled(group, topic string, orderly bool) {
	var output sync.Mutex
	listener := func(message *primitive.MessageExt) consumer.ConsumeResult {
		output.Lock()
		defer output.Unlock()
		fmt.Println(message.Queue.QueueId, message.QueueOffset, strings.TrimSpace(string(message.Body)))
		return consumer.ConsumeSuccess
	}
	if _, err := startConsumer(group, topic, listener, consumer.WithConsumerOrder(orderly)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	select {}
}

func namesrv() primitive.NamesrvAddr {
	if address := os.Getenv("NAMESRV"); address != "" {
		return primitive.NamesrvAddr{address}
	}
	return primitive.NamesrvAddr{"127.0.0.1:9876"}
}
