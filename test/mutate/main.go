// Command mutate puts single faults into the code and looks whether a test fails: where none does, a promise is not
// tested. Read it in the order main.go, mutants.go (the faults), coverage.go (which tests may notice one), trial.go.
//
// It changes no file: the compiler is given a changed copy (go build -overlay). Of a fault only those tests are run
// that reach its line, the fast ones first. It takes hours for a whole package; results are kept, and what was tried
// is not tried again as long as nothing of the package has changed.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
)

// task is what is asked for.
type task struct {
	files   []string // of Go, not tests
	sample  int      // mutants of each file; 0: all
	seed    uint64
	list    bool
	workers int
	cache   string // folder
}

func main() {
	var t task
	flag.IntVar(&t.sample, "sample", 0, "try only so many faults of each file, chosen at random")
	flag.Uint64Var(&t.seed, "seed", 1, "of -sample")
	flag.BoolVar(&t.list, "list", false, "list the faults and try none")
	flag.IntVar(&t.workers, "workers", runtime.NumCPU(), "faults to try at a time")
	flag.StringVar(&t.cache, "cache", "", "folder for results (default: edge-agent-mutate in the user's cache)")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: mutate [flags] PACKAGE-FOLDER|FILE.go ...\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := t.run(ctx, flag.Args(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

// run tries the faults of all packages that are named.
func (t task) run(ctx context.Context, names []string, out io.Writer) (err error) {
	if t.files, err = sources(names); err != nil {
		return err
	}
	if t.cache == "" {
		folder, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		t.cache = filepath.Join(folder, "edge-agent-mutate")
	}
	byPackage := map[string][]string{}
	for _, file := range t.files {
		byPackage[filepath.Dir(file)] = append(byPackage[filepath.Dir(file)], file)
	}
	var scores []score
	for _, folder := range slices.Sorted(mapKeys(byPackage)) {
		more, err := t.tryPackage(ctx, folder, byPackage[folder], out)
		scores = append(scores, more...)
		if err != nil {
			return errors.Join(err, table(out, scores))
		}
	}
	if t.list {
		return nil
	}
	return table(out, scores)
}

// sources are the Go files that are named, or lie in folders that are, without tests.
func sources(names []string) (files []string, err error) {
	for _, name := range names {
		found := []string{name}
		if !strings.HasSuffix(name, ".go") {
			if found, err = filepath.Glob(filepath.Join(name, "*.go")); err != nil {
				return nil, err
			}
		}
		for _, file := range found {
			if !strings.HasSuffix(file, "_test.go") && !strings.HasSuffix(file, "_other.go") {
				files = append(files, file)
			}
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("there are no Go files in %q", names)
	}
	return files, nil
}

// score is how many faults of a file were noticed, of those that compile.
type score struct {
	file          string
	killed, tried int
}

// tryPackage tries the faults of some files of a package and prints those that no test notices.
func (t task) tryPackage(ctx context.Context, folder string, files []string, out io.Writer) ([]score, error) {
	all := map[string][]mutant{}
	for _, file := range files {
		found, err := mutants(file)
		if err != nil {
			return nil, err
		}
		all[file] = t.chosen(found)
		if t.list {
			for _, m := range all[file] {
				fmt.Fprintln(out, m)
			}
		}
	}
	if t.list {
		return nil, nil
	}
	p, err := openPackage(ctx, folder, t.cache, out)
	if err != nil {
		return nil, err
	}
	defer p.close()
	var scores []score
	for _, file := range files {
		s, err := t.tryFile(ctx, p, file, all[file], out)
		scores = append(scores, s)
		if err != nil {
			return scores, err
		}
	}
	return scores, nil
}

// chosen are the mutants that are to be tried.
func (t task) chosen(all []mutant) []mutant {
	if t.sample == 0 || t.sample >= len(all) {
		return all
	}
	all = slices.Clone(all)
	r := rand.New(rand.NewPCG(t.seed, 0))
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	all = all[:t.sample]
	slices.SortStableFunc(all, func(a, b mutant) int { return cmp.Compare(a.line, b.line) })
	return all
}

func (t task) tryFile(ctx context.Context, p *testedPackage, file string, all []mutant, out io.Writer) (score, error) {
	s := score{file: file}
	work := make(chan mutant)
	var mu sync.Mutex
	var workers sync.WaitGroup
	var fault error
	for range max(1, t.workers) {
		workers.Go(func() {
			for m := range work {
				v, err := p.try(ctx, m)
				mu.Lock()
				switch {
				case err != nil:
					fault = err
				case v == survived:
					fmt.Fprintln(out, m)
					s.tried++
				case v == killed:
					s.killed++
					s.tried++
				}
				mu.Unlock()
			}
		})
	}
	for _, m := range all {
		if ctx.Err() != nil {
			break
		}
		work <- m
	}
	close(work)
	workers.Wait()
	return s, cmp.Or(ctx.Err(), fault)
}

// table prints the scores.
func table(out io.Writer, scores []score) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nfile\tnoticed\tof\tper cent")
	for _, s := range scores {
		if s.tried > 0 {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", s.file, s.killed, s.tried, 100*s.killed/s.tried)
		}
	}
	return w.Flush()
}
