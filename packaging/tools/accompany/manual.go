package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tined/tined/cmd/cli"
)

// section8 is for what administrators run, section5 for formats of files.
const section8, section5 = "8", "5"

// writeManual writes tined(8), tined-COMMAND(8) from the commands themselves, and tined.hcl(5) from docs/.
func (p *papers) writeManual() error {
	root := cli.Command(p.program())
	pages := map[string]string{}
	for _, cmd := range append([]*cobra.Command{root}, documented(root)...) {
		out, err := p.commandPage(cmd)
		if err != nil {
			return err
		}
		pages[pageName(cmd)+"."+section8] = out
	}
	configuration, err := p.configurationPage()
	if err != nil {
		return err
	}
	pages["tined.hcl."+section5] = configuration
	for name, text := range pages {
		if err := p.packed(filepath.Join("man", "man"+name[len(name)-1:], name+".gz"), []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

// documented are the commands with pages of their own: all but help.
func documented(root *cobra.Command) []*cobra.Command {
	var out []*cobra.Command
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" {
			out = append(out, c)
		}
	}
	return out
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

func (p *papers) newPage(name, section string) *page {
	return newPage(strings.ToUpper(name), section, p.date.Format("2006-01-02"), "tined "+strings.TrimPrefix(p.version, "v"))
}

// commandPage is the page of the whole, or of one command.
func (p *papers) commandPage(cmd *cobra.Command) (string, error) {
	root := cmd.Root()
	man := p.newPage(pageName(cmd), section8)
	man.section("Name")
	man.text(literal(pageName(cmd)) + ` \- ` + prose(lowerFirst(cmd.Short)))
	man.section("Synopsis")
	man.text(synopsis(cmd))

	man.section("Description")
	description, status := cmd.Long, ""
	if before, after, found := strings.Cut(description, "\n\nExit status: "); found {
		description, status = before, after
	}
	man.help(description)
	if subcommands := documented(cmd); len(subcommands) > 0 {
		man.section("Commands")
		man.commands(cmd, subcommands)
	}

	man.section("Options")
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if cmd == root || f.Name != "help" {
			man.flag(f)
		}
	})
	cmd.InheritedFlags().VisitAll(man.flag)
	if status != "" {
		man.section("Exit status")
		for one := range strings.SplitSeq(strings.TrimSuffix(strings.Join(strings.Fields(status), " "), "."), "; ") {
			number, meaning, _ := strings.Cut(one, " ")
			man.item(bold(number), prose(upperFirst(meaning))+".")
		}
	}
	if cmd == root {
		if err := p.environment(man); err != nil {
			return "", err
		}
	}
	if cmd.Example == "" && cmd.HasParent() {
		return "", fmt.Errorf("`%s` has no example: its page would have none", cmd.CommandPath())
	}
	if cmd.Example != "" {
		man.section("Examples")
		man.verbatim(unindented(cmd.Example))
	}
	man.section("See also")
	man.seeAlso(cmd)
	return man.out.String(), nil
}

// environment adds to the page of the whole what no command knows of: files, variables and signals.
func (p *papers) environment(man *page) error {
	world, err := os.ReadFile(filepath.Join(p.source, "packaging", "manual", "world.md"))
	if err != nil {
		return err
	}
	signals, err := os.ReadFile(filepath.Join(p.source, "docs", "signals.md"))
	if err != nil {
		return err
	}
	if err := man.markdown("packaging/manual/world.md", world, outline{}); err != nil {
		return err
	}
	man.section("Signals")
	return man.markdown("docs/signals.md", signals, outline{deeper: 1, withoutTitle: true})
}

// synopsis is how a command is written, with all of its options.
func synopsis(cmd *cobra.Command) string {
	words := []string{bold(cmd.CommandPath())}
	if !cmd.HasParent() {
		words = append(words, `[\fIOPTIONS\fR]`, `\fICOMMAND\fR`, `[\fIARGUMENTS\fR]`)
		return strings.Join(words, " ")
	}
	if cmd.HasSubCommands() {
		words = append(words, `\fISHELL\fR`)
	}
	flags := func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		words = append(words, "["+flagName(f, "|")+"]")
	}
	cmd.LocalFlags().VisitAll(flags)
	cmd.InheritedFlags().VisitAll(flags)
	if _, arguments, found := strings.Cut(cmd.Use, " "); found {
		for word := range strings.FieldsSeq(arguments) {
			words = append(words, uppercaseWord(word))
		}
	}
	return strings.Join(words, "\n")
}

// uppercaseWord sets the names of arguments in italics, what is typed as it is in bold, and neither brackets nor bars.
func uppercaseWord(word string) string {
	var out strings.Builder
	for word != "" {
		end := strings.IndexFunc(word, func(r rune) bool { return !unicode.IsLetter(r) && r != '-' })
		switch {
		case end < 0:
			end = len(word)
		case end == 0:
			out.WriteString(literal(word[:1]))
			word = word[1:]
			continue
		}
		if name := word[:end]; name == strings.ToUpper(name) {
			out.WriteString(italic(name))
		} else {
			out.WriteString(bold(name))
		}
		word = word[end:]
	}
	return out.String()
}

// flagName is a flag with its short form and its value.
func flagName(f *pflag.Flag, between string) string {
	name, _ := pflag.UnquoteUsage(f)
	out := ""
	if f.Shorthand != "" {
		out = bold("-"+f.Shorthand) + between
	}
	out += bold("--" + f.Name)
	switch {
	case name == "": // a flag that is there or not
	case f.NoOptDefVal != "":
		out += "[=" + italic(name) + "]"
	default:
		out += "\\~" + italic(name)
	}
	return out
}

func (p *page) flag(f *pflag.Flag) {
	if f.Hidden {
		return
	}
	_, usage := pflag.UnquoteUsage(f)
	text := prose(upperFirst(usage))
	if !strings.Contains(usage, "(default") && !slices.Contains([]string{"", "0", "0s", "false", "[]"}, f.DefValue) {
		text += " (default " + bold(f.DefValue) + ")"
	}
	p.item(flagName(f, ", "), text+".")
}

// commands lists the commands of a command, in its groups.
func (p *page) commands(cmd *cobra.Command, list []*cobra.Command) {
	entry := func(c *cobra.Command) {
		term := bold(pageName(c)) + "(" + section8 + ")"
		if c.Parent().HasParent() {
			term = bold(c.Name()) // without a page of its own
		}
		p.item(term, prose(c.Short)+".")
	}
	if len(cmd.Groups()) == 0 {
		for _, c := range list {
			entry(c)
		}
		return
	}
	for _, group := range cmd.Groups() {
		p.subsection(strings.TrimSuffix(group.Title, ":"))
		for _, c := range list {
			if c.GroupID == group.ID {
				entry(c)
			}
		}
	}
}

// seeAlso names the pages beside a command's: the whole, those of its group, and the configuration.
func (p *page) seeAlso(cmd *cobra.Command) {
	refer := []string{reference("tined.hcl", section5)}
	if cmd.HasParent() {
		refer = append(refer, reference("tined", section8))
		for _, c := range documented(cmd.Root()) {
			if c != cmd && c.GroupID == cmd.GroupID {
				refer = append(refer, reference(pageName(c), section8))
			}
		}
	} else {
		for _, c := range documented(cmd) {
			refer = append(refer, reference(pageName(c), section8))
		}
		refer = append([]string{reference("systemctl", "1"), reference("journalctl", "1")}, refer...)
	}
	p.text(strings.Join(refer, ",\n"))
	p.paragraph(prose("More is told in ") + italic("/usr/share/doc/tined") + ".")
}

func reference(name, section string) string { return bold(name) + "(" + section + ")" }

// lowerFirst is for NAME, where a sentence goes on; a word in capitals stays.
func lowerFirst(text string) string {
	if len(text) > 1 && unicode.IsUpper(rune(text[1])) {
		return text
	}
	return strings.ToLower(text[:1]) + text[1:]
}

func upperFirst(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// configurationPage is made of docs/config.md, and of the pages of what it only names: modules and middleware.
func (p *papers) configurationPage() (string, error) {
	man := p.newPage("tined.hcl", section5)
	man.section("Name")
	man.text(literal("tined.hcl") + ` \- ` + prose("configuration of the web server tined"))
	man.section("Synopsis")
	man.text(italic("/etc/tined/tined.hcl"))
	man.section("Description")
	for _, one := range []struct {
		file string
		how  outline
	}{
		{"docs/config.md", outline{withoutTitle: true}},
		{"docs/middleware.md", outline{withoutTitle: true, withoutIntroduction: true, named: "middleware %s"}},
	} {
		text, err := os.ReadFile(filepath.Join(p.source, one.file))
		if err != nil {
			return "", err
		}
		if err := man.markdown(one.file, text, one.how); err != nil {
			return "", err
		}
	}
	modules, err := filepath.Glob(filepath.Join(p.source, "docs", "modules", "*.md"))
	if err != nil {
		return "", err
	}
	if len(modules) == 0 {
		return "", fmt.Errorf("docs/modules has no pages: the manual would not tell of the modules")
	}
	for _, file := range modules {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		name := strings.TrimSuffix(filepath.Base(file), ".md")
		man.section("Module " + name)
		if err := man.markdown("docs/modules/"+filepath.Base(file), text, outline{withoutTitle: true, deeper: 1, silent: "Name"}); err != nil {
			return "", err
		}
	}
	man.section("Files")
	man.item(italic("/etc/tined/tined.hcl"), "The configuration of the packages.")
	man.item(italic("/etc/tined/conf.d/*.hcl"), "What it includes.")
	man.item(italic("/usr/share/doc/tined/examples/tined.hcl"), "An example with notes.")
	man.section("See also")
	man.text(strings.Join([]string{
		reference("tined", section8), reference("tined-check", section8), reference("tined-plan", section8), reference("tined-reload", section8),
	}, ",\n"))
	return man.out.String(), nil
}
