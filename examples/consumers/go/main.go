// Deliver alerts, each once and none too late: go run . BROKER TOPIC
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

type action struct {
	ID        string    `json:"id"`
	ClientID  string    `json:"client_id"`
	Title     string    `json:"title"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Records that are not actions: they remind of one, or take it back.
var follows = map[string]bool{"engage.care.v1": true, "engage.retraction.v1": true}

func isAction(record *kgo.Record) bool {
	for _, header := range record.Headers {
		if header.Key == "ce_type" && follows[string(header.Value)] {
			return false
		}
	}
	return true
}

func main() {
	// Only what was committed; and an action counts as read once it is delivered, not before.
	client, err := kgo.NewClient(kgo.SeedBrokers(os.Args[1]), kgo.ConsumeTopics(os.Args[2]), kgo.ConsumerGroup("alerts-go"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.DisableAutoCommit())
	if err != nil {
		panic(err)
	}
	delivered := map[string]bool{} // keep the ids where they outlive this process
	for {
		fetches := client.PollFetches(context.Background())
		fetches.EachRecord(func(record *kgo.Record) {
			var a action
			if isAction(record) && json.Unmarshal(record.Value, &a) == nil && time.Now().Before(a.ExpiresAt) && !delivered[a.ID] {
				fmt.Printf("%s: %s\n", a.ClientID, a.Title)
				delivered[a.ID] = true
			}
		})
		if err := client.CommitUncommittedOffsets(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}
