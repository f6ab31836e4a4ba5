package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/darkroom-dev/darkroom/artifact"
	"github.com/darkroom-dev/darkroom/cache"
)

func (a *app) cacheCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Looks after what is stored: stat, verify, gc",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return wrongf("cache has no verb %q; it has stat, verify and gc", args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(a.cacheStatCommand(), a.cacheVerifyCommand(), a.cacheGCCommand())
	return cmd
}

func (a *app) cacheStatCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stat",
		Short: "Counts what the cache holds",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.openExisting()
			if err != nil {
				return err
			}
			defer c.Close()
			s, err := c.Stat()
			if err != nil {
				return lackingf("counting what the cache holds: %w", err)
			}
			if a.json {
				return a.printJSON(s)
			}
			fmt.Fprintf(a.out, "%s, %s in all\n", a.paint(a.out, bold, relative(s.Dir)), bytesText(s.Bytes))
			table(a.out, "  ", [][]string{
				usageRow("blobs", s.Blobs), usageRow("records", s.Records), usageRow("experiments", s.Experiments), usageRow("runs", s.Runs),
				usageRow("checkpoints", s.Scratch), usageRow("temporary", s.Temporary), usageRow("quarantine", s.Quarantine), usageRow("index", s.Index),
			})
			if s.Running > 0 {
				fmt.Fprintf(a.out, "  %s going on\n", plural(s.Running, "run"))
			}
			return nil
		},
	}
}

func usageRow(name string, u cache.Usage) []string {
	return []string{name, strconv.Itoa(u.Files), bytesText(u.Bytes)}
}

func (a *app) cacheVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Reads everything that is stored and names what is damaged",
		Long: `Reads every byte that is stored. What is damaged is moved to the quarantine, and the stages that made it run again when
they are next needed. The exit code is 1 when something was found.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.openExisting()
			if err != nil {
				return err
			}
			defer c.Close()
			v, err := c.VerifyAll(cmd.Context(), nil)
			if err != nil {
				return fmt.Errorf("verifying the cache: %w", err)
			}
			if a.json {
				err = a.printJSON(struct {
					OK bool `json:"ok"`
					*cache.Verification
				}{v.OK(), v})
			} else {
				a.printVerification(v)
			}
			if err == nil && !v.OK() {
				return told(exitFailed)
			}
			return err
		},
	}
}

func (a *app) printVerification(v *cache.Verification) {
	for _, f := range v.Findings {
		where := ""
		if f.Quarantined {
			where = " (moved to the quarantine)"
		}
		fmt.Fprintf(a.out, "%s %s: %s%s\n", a.paint(a.out, red, "damaged"), f.Path, f.Problem, where)
	}
	word := "nothing is damaged"
	if !v.OK() {
		word = plural(len(v.Findings), "finding")
	}
	fmt.Fprintf(a.out, "Read %s (%s), %s, %s, %s: %s.\n", plural(v.Blobs, "blob"), bytesText(v.Bytes), plural(v.Records, "record"),
		plural(v.Experiments, "experiment"), plural(v.Runs, "run"), word)
}

func (a *app) cacheGCCommand() *cobra.Command {
	p := cache.Policy{}
	var age, size string
	var pins []string
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Removes what no recent run and no pinned experiment needs",
		Long: `Removes what is stored and was not used for some time, unless one of the newest runs of a pipeline or a pinned
experiment needs it. It never takes anything away from a run that is going on.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if p.KeepRuns < 0 {
				return wrongf("--keep-runs is %d; it must be at least 0", p.KeepRuns)
			}
			if p.KeepAge, err = parseAge(age); err != nil {
				return err
			}
			if p.MaxBytes, err = parseSize(size); err != nil {
				return err
			}
			c, err := a.openExisting()
			if err != nil {
				return err
			}
			defer c.Close()
			for _, pin := range pins {
				x, err := findExperiment(c, pin)
				if err != nil {
					return err
				}
				p.Pinned = append(p.Pinned, artifact.Digest(x.Hash))
			}
			g, err := c.GC(cmd.Context(), p)
			switch {
			case errors.Is(err, cache.ErrInUse):
				return lackingf("%w; try again when it has ended (`darkroom status`)", err)
			case err != nil:
				return fmt.Errorf("removing what is not needed: %w", err)
			case a.json:
				return a.printJSON(g)
			}
			a.printCollection(g)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&age, "keep-age", "30d", "keep what was used in this `TIME`: 12h, 30d")
	flags.IntVar(&p.KeepRuns, "keep-runs", 5, "keep what the `N` newest runs of each pipeline used")
	flags.StringArrayVar(&pins, "pin", nil, "keep the experiment of this `HASH` and all that it names; may be repeated")
	flags.StringVar(&size, "max-size", "", "keep at most this `SIZE`, such as 20GB; the least recently used goes first")
	flags.BoolVarP(&p.DryRun, "dry-run", "n", false, "remove nothing; say what would go")
	return cmd
}

func (a *app) printCollection(g *cache.Collection) {
	word := "Removed"
	if g.DryRun {
		word = "Would remove"
	}
	fmt.Fprintf(a.out, "%s %s: %s, %s, %s, %s.\n", word, bytesText(g.Freed), plural(g.Blobs.Files, "blob"), plural(g.Records, "record"),
		plural(g.Experiments, "experiment"), plural(g.Runs, "run"))
	fmt.Fprintf(a.out, "%s with %s stay.\n", plural(g.Kept.Files, "blob"), bytesText(g.Kept.Bytes))
}

// parseAge reads a duration, days included.
func parseAge(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseFloat(days, 64); err == nil && n >= 0 && n < 1e5 {
			return time.Duration(n * 24 * float64(time.Hour)), nil
		}
	} else if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return d, nil
	}
	return 0, wrongf("--keep-age is %q; it takes a time such as 12h or 30d", text)
}

// parseSize reads a number of bytes with a unit; "" is 0.
func parseSize(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	number, unit := strings.TrimRight(text, "kKMGTiB "), 1.0
	switch strings.TrimSpace(text[len(number):]) {
	case "", "B":
	case "k", "kB", "KB":
		unit = 1e3
	case "M", "MB":
		unit = 1e6
	case "G", "GB":
		unit = 1e9
	case "T", "TB":
		unit = 1e12
	case "KiB", "kiB":
		unit = 1 << 10
	case "MiB":
		unit = 1 << 20
	case "GiB":
		unit = 1 << 30
	case "TiB":
		unit = 1 << 40
	default:
		unit = math.NaN()
	}
	if n, err := strconv.ParseFloat(number, 64); err == nil && n*unit >= 1 && n*unit < 1<<62 {
		return int64(n * unit), nil
	}
	return 0, wrongf("--max-size is %q; it takes a size such as 500MB or 20GB", text)
}
