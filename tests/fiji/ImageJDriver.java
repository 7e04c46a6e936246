import ij.IJ;
import ij.ImageJ;
import ij.gui.Toolbar;
import ij.WindowManager;
import ij.macro.Interpreter;
import java.awt.*;
import java.awt.event.ActionEvent;
import java.awt.event.ActionListener;
import java.awt.event.KeyEvent;
import java.awt.image.BufferedImage;
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import javax.imageio.ImageIO;

/**
 * The real ImageJ, driven by a test line by line: run a macro, look at its dialogs, fill and press them.
 *
 * Each line on standard input is a command and its arguments, with tabs between, the arguments in Base64. Each
 * answer is one line that begins with ANSWER: words with tabs between, in Base64 too. A macro runs in a thread of its
 * own, so that the test can work on the dialog that it waits for.
 */
public class ImageJDriver {
    private static Thread running;
    private static volatile String result = "", error = "";
    private static volatile Interpreter interpreter;

    public static void main(String[] arguments) throws Exception {
        new ImageJ(ImageJ.STANDALONE);
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream output = new PrintStream(System.out, true, "UTF-8");
        String line;
        while ((line = input.readLine()) != null) {
            String[] words = line.split("\t", -1);
            for (int i = 1; i < words.length; i++) words[i] = decoded(words[i]);
            String[] answer;
            try {
                answer = obey(words);
            } catch (Throwable problem) {
                StringWriter trace = new StringWriter();
                problem.printStackTrace(new PrintWriter(trace));
                answer = new String[] {"problem", trace.toString()};
            }
            StringBuilder text = new StringBuilder("ANSWER");
            for (String word : answer) text.append('\t').append(encoded(word));
            output.println(text);
        }
        System.exit(0);
    }

    private static String[] obey(String[] words) throws Exception {
        switch (words[0]) {
            case "start": return start(words[1], words[2]);
            case "script": return script(words);
            case "join": return join(Long.parseLong(words[1]));
            case "windows": return windows();
            case "fields": return fields(window(words[1]));
            case "set": return set(window(words[1]), words[2], words[3]);
            case "press": return press(window(words[1]), words[2]);
            case "key": return key(Integer.parseInt(words[1]));
            case "tools": return new String[] {"ok", toolsAtWork()};
            case "click": return click(words[1], words[2].equals("right"));
            case "open": return open(words[1]);
            case "toolset": return toolset(words[1]);
            case "picture": return picture(words[1], words[2]);
            case "log": return new String[] {"ok", IJ.getLog() == null ? "" : IJ.getLog()};
            default: throw new IllegalArgumentException("no command " + words[0]);
        }
    }

    private static String[] start(final String macro, final String argument) {
        if (running != null && running.isAlive()) throw new IllegalStateException("a macro is still running");
        result = error = "";
        final Interpreter mine = new Interpreter();
        interpreter = mine;
        mine.setIgnoreErrors(true);
        running = new Thread(new Runnable() {
            public void run() {
                String value = mine.run(macro, argument);
                result = value == null ? "" : value;
                if (mine.wasError()) error = "line " + mine.getLineNumber() + ": " + mine.getErrorMessage();
            }
        }, "macro");
        running.start();
        return new String[] {"ok"};
    }

    /** As Fiji's script editor runs it: language, text, names of the outputs, then name, type and value of each input. */
    private static String[] script(final String[] words) {
        if (running != null && running.isAlive()) throw new IllegalStateException("a macro is still running");
        result = error = "";
        running = new Thread(new Runnable() {
            public void run() {
                try {
                    javax.script.ScriptEngine engine = new javax.script.ScriptEngineManager().getEngineByName(words[1]);
                    for (int i = 4; i < words.length; i += 3) engine.put(words[i], input(words[i + 1], words[i + 2]));
                    engine.eval(words[2]);
                    StringBuilder made = new StringBuilder();
                    for (String name : words[3].split(" ")) made.append(name).append('=').append(shown(engine.get(name))).append('\n');
                    result = made.toString();
                } catch (Throwable problem) {
                    StringWriter trace = new StringWriter();
                    problem.printStackTrace(new PrintWriter(trace));
                    error = trace.toString();
                }
            }
        }, "script");
        running.start();
        return new String[] {"ok"};
    }

    private static Object input(String type, String value) {
        if (type.equals("ImagePlus")) return WindowManager.getImage(value);
        if (type.equals("Boolean")) return value.equals("true");
        return value;
    }

    private static String shown(Object made) {
        if (!(made instanceof ij.ImagePlus)) return String.valueOf(made);
        ((ij.ImagePlus) made).show();
        return ((ij.ImagePlus) made).getTitle();
    }

    private static String[] join(long milliseconds) throws InterruptedException {
        running.join(milliseconds);
        if (running.isAlive()) return new String[] {"running", stackOf(running)};
        return new String[] {"ended", result, error};
    }

    private static String stackOf(Thread thread) {
        StringBuilder text = new StringBuilder();
        for (StackTraceElement element : thread.getStackTrace()) text.append(element).append('\n');
        return text.toString();
    }

    private static List<Window> showing() {
        List<Window> found = new ArrayList<Window>();
        for (Window each : Window.getWindows()) if (each.isShowing()) found.add(each);
        return found;
    }

    private static String title(Window window) {
        if (window instanceof Frame) return ((Frame) window).getTitle();
        if (window instanceof Dialog) return ((Dialog) window).getTitle();
        return "";
    }

    private static Window window(String title) {
        for (Window each : showing()) if (title(each).equals(title)) return each;
        throw new IllegalArgumentException("no window " + title);
    }

    private static String[] windows() {
        List<String> titles = new ArrayList<String>();
        titles.add("ok");
        for (Window each : showing()) titles.add(each.getClass().getSimpleName() + ":" + title(each));
        return titles.toArray(new String[0]);
    }

    /** What a person reads in a dialog, from top to bottom: words, and "label=value" of what can be changed. */
    private static String[] fields(Window window) {
        List<String> found = new ArrayList<String>();
        found.add("ok");
        String label = "";
        for (Component each : inside(window)) {
            if (each instanceof Label) { label = ((Label) each).getText().trim(); found.add(label); }
            else if (each instanceof Checkbox) found.add(((Checkbox) each).getLabel().trim() + "=" + ((Checkbox) each).getState());
            else if (each instanceof Choice) found.add(label + "=" + ((Choice) each).getSelectedItem() + "|" + items((Choice) each));
            else if (each instanceof TextComponent) found.add(label + "=" + ((TextComponent) each).getText());
            else if (each instanceof javax.swing.text.JTextComponent) found.add(((javax.swing.text.JTextComponent) each).getText());
            else if (each instanceof javax.swing.JButton) found.add("[" + ((javax.swing.JButton) each).getText() + "]");
            else if (each instanceof Button) found.add("[" + ((Button) each).getLabel().trim() + "]");
            else if (each.getClass().getSimpleName().equals("MultiLineLabel")) found.add(lines(each));
            else if (each instanceof javax.swing.JLabel) found.add(String.valueOf(((javax.swing.JLabel) each).getText()));
        }
        return found.toArray(new String[0]);
    }

    private static String lines(Component label) {
        try {
            java.lang.reflect.Field field = label.getClass().getDeclaredField("lines");
            field.setAccessible(true);
            return String.join("\n", (String[]) field.get(label));
        } catch (ReflectiveOperationException problem) {
            return problem.toString();
        }
    }

    private static String items(Choice choice) {
        List<String> items = new ArrayList<String>();
        for (int i = 0; i < choice.getItemCount(); i++) items.add(choice.getItem(i));
        return String.join("|", items);
    }

    private static List<Component> inside(Container container) {
        List<Component> found = new ArrayList<Component>();
        for (Component each : container.getComponents()) {
            if (each instanceof Container && !(each.getClass().getSimpleName().equals("MultiLineLabel"))) found.addAll(inside((Container) each));
            if (!(each instanceof Panel)) found.add(each);
        }
        return found;
    }

    private static String[] set(Window window, String wanted, String value) {
        String label = "";
        for (Component each : inside(window)) {
            if (each instanceof Label) label = ((Label) each).getText().trim();
            if (each instanceof Checkbox && ((Checkbox) each).getLabel().trim().equals(wanted)) {
                ((Checkbox) each).setState(value.equals("true"));
                return new String[] {"ok"};
            }
            if (!label.equals(wanted)) continue;
            if (each instanceof Choice) {
                ((Choice) each).select(value);
                if (!((Choice) each).getSelectedItem().equals(value)) throw new IllegalArgumentException("no choice " + value);
                return new String[] {"ok"};
            }
            if (each instanceof TextComponent) { ((TextComponent) each).setText(value); return new String[] {"ok"}; }
        }
        throw new IllegalArgumentException("no field " + wanted + " in " + title(window));
    }

    private static String[] press(final Window window, String wanted) throws InterruptedException {
        if (window instanceof Dialog && ((Dialog) window).isModal()) waitUntilSomebodyWaits();
        for (final Component each : inside(window)) {
            if (each instanceof Button && ((Button) each).getLabel().trim().equals(wanted)) {
                EventQueue.invokeLater(new Runnable() { public void run() {
                    for (ActionListener listener : ((Button) each).getActionListeners())
                        listener.actionPerformed(new ActionEvent(each, ActionEvent.ACTION_PERFORMED, ((Button) each).getLabel()));
                } });
                return new String[] {"ok"};
            }
        }
        for (final Component each : inside(window)) {
            if (each instanceof javax.swing.JButton && ((javax.swing.JButton) each).getText().trim().equals(wanted)) {
                EventQueue.invokeLater(new Runnable() { public void run() { ((javax.swing.JButton) each).doClick(); } });
                return new String[] {"ok"};
            }
        }
        throw new IllegalArgumentException("no button " + wanted + " in " + title(window));
    }

    /** A modal dialog that closes before its caller has begun to wait would be waited for without end. */
    private static void waitUntilSomebodyWaits() throws InterruptedException {
        for (int i = 0; i < 200; i++) {
            for (java.util.Map.Entry<Thread, StackTraceElement[]> each : Thread.getAllStackTraces().entrySet()) {
                boolean waits = each.getKey().getState() == Thread.State.WAITING || each.getKey().getState() == Thread.State.TIMED_WAITING;
                for (StackTraceElement element : each.getValue())
                    if (waits && element.getClassName().equals("java.awt.WaitDispatchSupport")) return;
            }
            Thread.sleep(50);
        }
    }

    /** What ImageJ does when its window gets a key. */
    private static String[] key(final int code) {
        final ImageJ main = IJ.getInstance();
        EventQueue.invokeLater(new Runnable() { public void run() {
            main.keyPressed(new KeyEvent(main, KeyEvent.KEY_PRESSED, System.currentTimeMillis(), 0, code, code == 27 ? (char) 27 : KeyEvent.CHAR_UNDEFINED));
        } });
        return new String[] {"ok"};
    }

    /** Macros that a tool or a key began and that have not ended; each runs in a thread that ImageJ names. */
    private static String toolsAtWork() {
        StringBuilder names = new StringBuilder();
        for (Thread each : Thread.getAllStackTraces().keySet()) if (each.getName().endsWith("_Macro$")) names.append(each.getName());
        return names.toString();
    }

    /** The mouse on a tool of the toolbar, found by how its name begins. */
    private static String[] click(String name, boolean right) throws Exception {
        String[] names = (String[]) field("names").get(Toolbar.getInstance());
        for (int tool = 0; tool < names.length; tool++) {
            if (names[tool] != null && names[tool].startsWith(name)) { mouse(tool, right); return new String[] {"ok", names[tool]}; }
        }
        throw new IllegalArgumentException("no tool " + name + " among " + java.util.Arrays.toString(names));
    }

    private static void mouse(int tool, boolean right) throws Exception {
        final Toolbar bar = Toolbar.getInstance();
        java.lang.reflect.Method toolAt = Toolbar.class.getDeclaredMethod("toolID", int.class);
        toolAt.setAccessible(true);
        int first = -1, last = -1;
        for (int x = 0; x < bar.getWidth(); x++) {
            if ((Integer) toolAt.invoke(bar, x) != tool) continue;
            last = x;
            if (first < 0) first = x;
        }
        if (first < 0) throw new IllegalArgumentException("tool " + tool + " is not on the bar");
        int button = right ? java.awt.event.MouseEvent.BUTTON3 : java.awt.event.MouseEvent.BUTTON1;
        int held = right ? java.awt.event.InputEvent.BUTTON3_DOWN_MASK : java.awt.event.InputEvent.BUTTON1_DOWN_MASK;
        final java.awt.event.MouseEvent event = new java.awt.event.MouseEvent(bar, java.awt.event.MouseEvent.MOUSE_PRESSED,
            System.currentTimeMillis(), held, (first + last) / 2, 10, 1, right, button);
        final java.awt.event.MouseEvent after = new java.awt.event.MouseEvent(bar, java.awt.event.MouseEvent.MOUSE_RELEASED,
            System.currentTimeMillis(), 0, (first + last) / 2, 10, 1, right, button);
        // A button that is held for long is a second click for ImageJ.
        EventQueue.invokeLater(new Runnable() { public void run() { bar.mousePressed(event); bar.mouseReleased(after); } });
    }

    private static java.lang.reflect.Field field(String name) throws NoSuchFieldException {
        java.lang.reflect.Field field = Toolbar.class.getDeclaredField(name);
        field.setAccessible(true);
        return field;
    }

    /** What happens to a file that is dropped onto ImageJ. */
    private static String[] open(final String path) {
        new Thread(new Runnable() { public void run() { new ij.io.Opener().openAndAddToRecent(path); } }).start();
        return new String[] {"ok"};
    }

    /** Choose a toolset in the menu that >> opens, or say what is in it. */
    private static String[] toolset(String wanted) throws Exception {
        final Toolbar bar = Toolbar.getInstance();
        java.lang.reflect.Method fill = Toolbar.class.getDeclaredMethod("showSwitchPopupMenu", java.awt.event.MouseEvent.class);
        fill.setAccessible(true);
        final java.awt.event.MouseEvent press = new java.awt.event.MouseEvent(bar, java.awt.event.MouseEvent.MOUSE_PRESSED, System.currentTimeMillis(), 0, bar.getWidth() - 8, 10, 1, false);
        final java.lang.reflect.Method filled = fill;
        EventQueue.invokeAndWait(new Runnable() { public void run() {
            try { filled.invoke(bar, press); } catch (ReflectiveOperationException problem) { throw new IllegalStateException(problem); }
        } });
        PopupMenu menu = (PopupMenu) field("switchPopup").get(bar);
        List<String> labels = new ArrayList<String>();
        labels.add("ok");
        for (int i = 0; i < menu.getItemCount(); i++) {
            final MenuItem item = menu.getItem(i);
            labels.add(item.getLabel());
            if (!(item instanceof CheckboxMenuItem) || !item.getLabel().trim().equals(wanted)) continue;
            ((CheckboxMenuItem) item).setState(true);
            EventQueue.invokeAndWait(new Runnable() { public void run() {
                bar.itemStateChanged(new java.awt.event.ItemEvent((CheckboxMenuItem) item, java.awt.event.ItemEvent.ITEM_STATE_CHANGED, item.getLabel(), java.awt.event.ItemEvent.SELECTED));
            } });
            return new String[] {"chosen"};
        }
        return labels.toArray(new String[0]);
    }

    /** Of one window, of the whole screen (""), or of all windows together ("*"), as PNG. */
    private static String[] picture(String path, String title) throws Exception {
        Rectangle area = new Rectangle(Toolkit.getDefaultToolkit().getScreenSize());
        if (title.equals("*")) {
            Rectangle all = new Rectangle();
            for (Window each : showing()) all = all.isEmpty() ? each.getBounds() : all.union(each.getBounds());
            area = area.intersection(all);
        } else if (!title.isEmpty()) {
            area = area.intersection(window(title).getBounds());
        }
        Robot robot = new Robot();
        robot.setAutoWaitForIdle(true);
        robot.waitForIdle();
        BufferedImage image = robot.createScreenCapture(area);
        ImageIO.write(image, "png", new File(path));
        return new String[] {"ok"};
    }

    private static String encoded(String text) {
        return Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8));
    }

    private static String decoded(String text) {
        return new String(Base64.getDecoder().decode(text), StandardCharsets.UTF_8);
    }
}
