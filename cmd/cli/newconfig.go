package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tined/tined/configs"
)

// `init` writes a configuration to go on with. It is resolved before it is written: whatever a folder is called, what is written is valid and
// means that folder, or nothing is written.

// newConfig is what `init` was asked for.
type newConfig struct {
	static string // the folder; only if isStatic
	listen string
	output string // "-": standard output; "": the default
	force  bool

	isStatic bool
}

func (a *app) initCommand() *cobra.Command {
	var c newConfig
	name := a.program.Name
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a configuration to begin with",
		Long: fmt.Sprintf(`Init writes a short configuration with comments, by default to ./%[1]s.hcl, and prints the commands
that come next. A file that exists is not touched without --force. With -o - the configuration is
printed, and nothing is written.

With --static DIR it serves the files below DIR, which must exist. DIR is written relative to the
file when it was given so and lies beneath the file's folder, so that both can be moved; otherwise
from /. Without --static it answers every request with a greeting.`, name),
		Example: fmt.Sprintf(`  %[1]s init
  %[1]s init --static ./public
  %[1]s init --static /srv/www --listen :80 -o /etc/%[1]s/%[1]s.hcl
  %[1]s init --static . -o -`, name),
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.config != "" {
				return failure(exitUsage, "init reads no configuration: the file to write is -o %s", a.config)
			}
			c.isStatic = cmd.Flags().Changed("static")
			return a.writeConfig(c)
		},
	}
	cmd.Flags().StringVar(&c.static, "static", "", "serve the files below `DIR`")
	cmd.Flags().StringVarP(&c.listen, "listen", "l", defaultAddress, "`ADDRESS` to listen on, or a port")
	cmd.Flags().StringVarP(&c.output, "output", "o", "", fmt.Sprintf("`FILE` to write, - for standard output (default ./%s.hcl)", name))
	cmd.Flags().BoolVar(&c.force, "force", false, "replace a file that exists")
	_ = cmd.MarkFlagDirname("static") // they fail only for a flag that does not exist
	_ = cmd.MarkFlagFilename("output", "hcl")
	noFlagCompletion(cmd, "listen")
	return cmd
}

func (a *app) writeConfig(c newConfig) error {
	file := c.output
	switch {
	case file == "":
		file = "./" + a.program.Name + ".hcl"
	case strings.HasSuffix(file, ".json"):
		return failure(exitUsage, "init writes HCL, and %s would be read as JSON; name a file that ends in .hcl", shown(file))
	}
	text, err := a.configText(c, file)
	if err != nil {
		return err
	}
	if c.output == "-" {
		return a.printf("%s", text)
	}
	if err := writeNew(file, text, c.force); err != nil {
		return err
	}
	return a.printf("%s is written. What comes next:\n  %[2]s check %[3]s\n  %[2]s run -c %[3]s\n", shown(file), a.program.Name, shellWord(file))
}

// configText makes the text of file, and proves it.
func (a *app) configText(c newConfig, file string) (string, error) {
	at, err := listenAddress(c.listen)
	if err != nil {
		return "", err
	}
	absolute, err := filepath.Abs(file)
	if err != nil {
		return "", fmt.Errorf("the current folder is not known: %w", err)
	}
	// Standard output has no folder: nothing is relative to it.
	relative := func(given, target string) string {
		if filepath.IsAbs(given) || c.output == "-" {
			return target
		}
		if path, err := filepath.Rel(filepath.Dir(absolute), target); err == nil && filepath.IsLocal(path) {
			return path
		}
		return target
	}
	address := withColon(c.listen)
	if at.Network == "unix" {
		address = "unix:" + relative(strings.TrimPrefix(address, "unix:"), at.Path)
	}
	folder, text := "", ""
	switch {
	case c.isStatic:
		if err := servable(c.static); err != nil {
			return "", err
		}
		if folder, err = filepath.Abs(c.static); err != nil {
			return "", fmt.Errorf("the current folder is not known: %w", err)
		}
		text = fmt.Sprintf(staticConfig, a.program.Name, shown(folder), configs.Quote(address), configs.Quote(relative(c.static, folder)))
	case len(a.program.Code) > 0:
		text = fmt.Sprintf(codeConfig, a.program.Name, configs.Quote(address))
	default:
		text = fmt.Sprintf(greetingConfig, a.program.Name, configs.Quote(address), configs.Quote("Hello from "+a.program.Name+".\n"))
	}
	config, diagnostics := configs.Resolve(&configs.Sources{
		Path: absolute, Dir: filepath.Dir(absolute), Files: []configs.Source{{Name: filepath.Base(absolute), Bytes: []byte(text)}},
	}, a.schema)
	switch {
	case diagnostics.HasErrors():
		return "", fmt.Errorf("this program cannot have such a configuration: %w", diagnostics.Err())
	case config.Listeners[0].Address != at:
		return "", unwritable(at.Path)
	case c.isStatic && config.Sites[0].Routes[0].Block.Path("root") != folder:
		return "", unwritable(folder)
	}
	return text, nil
}

// unwritable is about a path that the texts of a configuration cannot hold.
func unwritable(path string) error {
	return fmt.Errorf("the path %s cannot stand in a configuration, where names are UTF-8 with composed letters (NFC); rename it, or make a link to it",
		shown(path))
}

// writeNew writes a file that must not exist, unless force is set: then what exists keeps its owner and mode.
func writeNew(file, text string, force bool) error {
	how := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		how = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(file, how, 0o644)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
		if err != nil && !force {
			_ = os.Remove(file)
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s exists; --force replaces it, and -o FILE writes another", shown(file))
	}
	return fmt.Errorf("%s is not written: %w", shown(file), cause(err))
}

// shellWord is a path as one word of a command line, and none that looks like a flag.
func shellWord(path string) string {
	if strings.HasPrefix(path, "-") {
		path = "./" + path
	}
	if plainWord.MatchString(path) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

var plainWord = regexp.MustCompile(`^[\pL\pN_./+:@%,=-]+$`)

// The configurations. In a line that is commented out, what follows "# " is a setting; prose ends with a full stop.
const (
	configHead = `# The configuration of %[1]s. Every setting is explained in docs/config.md and in tined.hcl(5).
# It is right if "%[1]s check FILE" says so; "%[1]s run -c FILE" serves it, and
# "%[1]s reload -c FILE" brings the running server to a changed file.
`

	staticConfig = configHead + `
# Serves the files below %[2]s.

listen "main" {
  address = %[3]s
}

site "main" {
  # A line for every request, on standard output.
  access_log {}

  route "/" {
    static {
      root  = %[4]s
      index = ["index.html"]

      # The page of the site for what is not there.
      # error "404" {
      #   file = "/404.html"
      # }

      # How long browsers may use what they have without asking.
      # files "*.html" {
      #   headers = { Cache-Control = "no-cache" }
      # }
      # files "/assets/**" {
      #   headers = { Cache-Control = "public, max-age=31536000, immutable" }
      # }

      # A list of the files in folders without an index.
      # listing {}
    }
  }
}
`

	greetingConfig = configHead + `
listen "main" {
  address = %[2]s
}

site "main" {
  # A line for every request, on standard output.
  access_log {}

  # The longest pattern that matches a request decides who answers it.
  route "/" {
    respond {
      body = %[3]s
    }
  }

  # The files of a folder.
  # route "/files/" {
  #   static {
  #     root = "/srv/www"
  #   }
  # }
}
`

	codeConfig = configHead + `
listen "main" {
  address = %[2]s
}

# The routes of the program's code belong to this site. Others can be added.
site "main" {
  # A line for every request, on standard output.
  access_log {}
}
`
)
