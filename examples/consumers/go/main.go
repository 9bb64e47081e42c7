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
			if json.Unmarshal(record.Value, &a) == nil && time.Now().Before(a.ExpiresAt) && !delivered[a.ID] {
				fmt.Printf("%s: %s\n", a.ClientID, a.Title)
				delivered[a.ID] = true
			}
		})
		if err := client.CommitUncommittedOffsets(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}
