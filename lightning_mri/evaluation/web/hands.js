// What hands do on an image: drag is window and level; shift, another button or two fingers move it; ctrl and wheel or two
// fingers zoom about a point; the wheel alone goes through slices; a double click resets.
function hands(element, act, idle = () => false) {
  const touches = new Map();
  element.onpointerdown = (event) => {
    if (idle()) return;
    element.setPointerCapture(event.pointerId);
    touches.set(event.pointerId, event);
  };
  element.onpointerup = element.onpointercancel = (event) => touches.delete(event.pointerId);
  element.onpointermove = (event) => {
    const before = touches.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
    const other = [...touches.values()].find((touch) => touch.pointerId !== event.pointerId);
    touches.set(event.pointerId, event);
    if (other) {
      const distance = (touch) => Math.hypot(touch.clientX - other.clientX, touch.clientY - other.clientY) || 1;
      act.move(dx / 2, dy / 2);
      act.zoom(distance(event) / distance(before), event);
    } else if (event.shiftKey || event.buttons & 6) act.move(dx, dy);
    else act.window(dx, dy);
  };
  element.oncontextmenu = (event) => event.preventDefault();
  element.ondblclick = () => act.reset();
  element.onwheel = (event) => {
    event.preventDefault();
    if (event.ctrlKey) act.zoom(Math.exp(-event.deltaY / 500), event);
    else act.step(Math.sign(event.deltaY));
  };
}

// Arrow keys go through slices as the wheel does, also from a button, a slider or a score that was clicked before.
function arrows(step) {
  const steps = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1 };
  document.addEventListener("keydown", (event) => {
    if (!steps[event.key] || event.altKey || event.ctrlKey || event.metaKey) return; // alt and an arrow is "back"
    if (["search", "select-one"].includes(event.target.type)) return;
    event.preventDefault();
    step(steps[event.key]);
  });
}
