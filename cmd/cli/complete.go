package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tined/tined/master"
)

// completionBound is how long the completion of a command line may ask a master: somebody is waiting with a finger on the key.
const completionBound = time.Second

// completeChildren offers the children of the running master.
func (a *app) completeChildren(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := within(ctx, completionBound)
	defer cancel()
	var offers []cobra.Completion
	// Without an answer there is nothing to offer, and nobody to tell why.
	_ = a.ask(func(c *master.Client) error {
		now, err := c.Children(ctx)
		if err != nil {
			return err
		}
		for i, one := range now.Children {
			if i == 0 || now.Children[i-1].Index != one.Index {
				offers = append(offers, fmt.Sprintf("%d\tpid %d, %s", one.Index, one.Pid, one.State))
			}
		}
		return nil
	})
	return offers, cobra.ShellCompDirectiveNoFileComp
}

// onlyFirst completes the first argument, and no other.
func onlyFirst(complete cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, args, begun)
	}
}

// noFlagCompletion says that nothing can be offered for a flag's value.
func noFlagCompletion(cmd *cobra.Command, flag string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.NoFileCompletions); err != nil {
		panic(errors.Join(errors.New("cli: a command without the flag "+flag), err))
	}
}
